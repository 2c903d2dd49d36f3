package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// app is what the verbs share.
type app struct {
	json    bool // --json
	now     func() time.Time
	connect func() (*client.Client, error)
}

// verbError is an error of a verb at work; every other error of the command tree is one of usage.
type verbError struct{ err error }

func (e *verbError) Error() string { return e.err.Error() }

func (e *verbError) Unwrap() error { return e.err }

// execute runs one command line and gives the exit code: 0, or that of the error's kind.
func execute(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{now: time.Now, connect: connect}
	root := newRoot(a) //nolint:contextcheck // cobra hands ctx to the verbs, see ExecuteContext
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if _, work := errors.AsType[*verbError](err); !work {
		a.json = a.json || slices.Contains(args, "--json") // flags behind the wrong one were not read
		err = fault.New(fault.Invalid, "", err.Error()).WithFix("see agentos help, or add --help to the verb")
	}
	a.report(errOut, err)
	return fault.KindOf(err).ExitCode()
}

// connect makes the client of the environment's kernel.
func connect() (*client.Client, error) {
	cfg, err := client.FromEnv()
	if err != nil {
		return nil, err
	}
	return client.New(cfg)
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "agentos",
		Short: "An operating system kernel for AI agents",
		Long: `An operating system kernel for AI agents: an agent is a process, the model its CPU,
the context window its RAM, tools its devices.

Start the kernel with "agentos up", then give it work with "agentos run".

The kernel is found by AGENTOS_URL and AGENTOS_API_KEY, else by what "agentos up"
left in the data folder AGENTOS_HOME (default ~/.local/share/agentos).`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		upCommand(a), serveCommand(a), runCommand(a), psCommand(a), logsCommand(a), sendCommand(a), killCommand(a),
		trajectoryCommand(a), replayCommand(a), auditCommand(a), doctorCommand(a), versionCommand(a),
		eventsCommand(a), parkedCommand(a), rebuildCommand(a), archiveCommand(a), busCommand(a), migrateCommand(a), keysCommand(a), healthCommand(a),
		tenantCommand(a),
	)
	return root
}

// verb makes the function of a verb into cobra's and marks its errors.
func verb(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := run(cmd, args); err != nil {
			return &verbError{err: err}
		}
		return nil
	}
}

// report tells an error to a person, or with --json to a program, on the error output.
func (a *app) report(w io.Writer, err error) {
	msg := err.Error()
	if known, ok := errors.AsType[*fault.Error](err); ok {
		msg = describe(known)
	}
	fix := fault.FixOf(err)
	if a.json {
		_ = writeJSON(w, errorLine{Error: errorDocument{Code: fault.KindOf(err).String(), Detail: msg, Fix: fix}})
		return
	}
	_, _ = fmt.Fprintf(w, "agentos: %s\n", msg)
	if fix != "" {
		_, _ = fmt.Fprintf(w, "  fix: %s\n", fix)
	}
}

// describe is the message of a fault with its causes, without the names of operations.
func describe(e *fault.Error) string {
	if e.Err == nil {
		return e.Msg
	}
	if cause, ok := errors.AsType[*fault.Error](e.Err); ok {
		return e.Msg + ": " + describe(cause)
	}
	return e.Msg + ": " + e.Err.Error()
}

type errorLine struct {
	Error errorDocument `json:"error"`
}

type errorDocument struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}
