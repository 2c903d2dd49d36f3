package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// runFlags is what `agentos run` was asked for besides the process itself.
type runFlags struct {
	specFlags
	record string
	detach bool
	quiet  bool
}

func runCommand(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [TASK…]",
		Short: "Start a process and show what it does",
		Long: `Start a process and show what happens: states, model calls with tokens and cost, tool
calls with the policy's decision, the model's text as it comes. At the end the answer.
The task - is read from the standard input. Ctrl-C leaves the process running.

With --json only the final process document, on one line. The exit code is not zero
when the process failed or was terminated.`,
		Example: `  agentos run --model ollama/llama3.2 "What is 17 * 23?" --tools calculator
  agentos run -f agent.yaml --record run.jsonl`,
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			if f.detach && f.record != "" {
				return fault.New(fault.Invalid, "cli.run", "a process cannot be recorded before it has ended").
					WithFix("leave out --detach or --record")
			}
			spec, err := f.spec(cmd)
			if err != nil {
				return err
			}
			if len(args) > 0 {
				if spec.Task, err = textOf(cmd, args); err != nil {
					return err
				}
			}
			return a.run(cmd, f, spec)
		}),
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.record, "record", "", "write the conversation to this file as a cassette, secrets removed")
	cmd.Flags().BoolVarP(&f.detach, "detach", "d", false, "print the PID and leave")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print only the answer")
	return cmd
}

func (a *app) run(cmd *cobra.Command, f runFlags, spec api.AgentSpec) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	if f.record != "" {
		if err := checkRecording(f.record); err != nil {
			return err
		}
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	if spec.Model == "" {
		return noModel(ctx, c)
	}
	agent, err := c.Spawn(ctx, spec)
	if err != nil {
		return err
	}
	switch {
	case f.detach && a.json:
		return writeJSON(out, agent)
	case f.detach:
		return writef(out, "%s\n", agent.PID)
	}
	if err := a.follow(cmd, c, agent.PID, f.quiet || a.json); err != nil {
		return err
	}
	if agent, err = c.Wait(ctx, agent.PID); err != nil {
		return err
	}
	if f.record != "" {
		if err := record(ctx, c, agent, f.record); err != nil {
			return err
		}
	}
	if a.json {
		err = writeJSON(out, agent)
	} else if err = ending(cmd, agent, f.quiet); err == nil && f.record != "" && !f.quiet {
		err = writef(cmd.ErrOrStderr(), "recorded to %s\n", f.record)
	}
	if err != nil {
		return err
	}
	return outcome(agent)
}

// follow shows what happens until the process has ended.
func (a *app) follow(cmd *cobra.Command, c *client.Client, pid string, silent bool) error {
	tell := func(client.Message) error { return nil }
	if !silent {
		s, err := newStory(cmd.OutOrStdout(), false, true)
		if err != nil {
			return err
		}
		if err := s.line("process " + pid); err != nil {
			return err
		}
		tell = s.tell
	}
	err := c.Follow(cmd.Context(), pid, 0, !silent, tell)
	if fault.Is(err, fault.Canceled) && cmd.Context().Err() != nil {
		return fault.New(fault.Canceled, "cli.run", "no longer watching "+pid+"; it goes on running").
			WithFix(fmt.Sprintf("watch again with agentos logs -f %s, or end it with agentos kill %s", pid, pid))
	}
	return err
}

// ending prints what the process used, and the answer.
func ending(cmd *cobra.Command, agent api.Agent, quiet bool) error {
	if !quiet {
		counted := ""
		if agent.Usage.Counted {
			counted = " (~ counted by the kernel, not reported by a provider)"
		}
		u := agent.Usage
		err := writef(cmd.OutOrStdout(), "\n%s %s: %d steps, %d tool calls, %s tokens in, %s out, %s%s\n\n", agent.PID, agent.State, u.Steps, u.ToolCalls,
			tokenCount(u.InputTokens, u.Counted), tokenCount(u.OutputTokens, u.Counted), usd(agent.CostUSD), counted)
		if err != nil {
			return err
		}
	}
	if agent.Result == "" {
		return nil
	}
	return writef(cmd.OutOrStdout(), "%s\n", strings.TrimSuffix(printable(agent.Result), "\n"))
}

// outcome is nil for a completed process and otherwise says why it did not complete.
func outcome(agent api.Agent) error {
	if agent.State == api.StateCompleted {
		return nil
	}
	kind, reason := fault.Internal, "no reason is given"
	if agent.State == api.StateTerminated {
		kind = fault.Canceled
	}
	if agent.Error != nil {
		reason = agent.Error.Reason
		if named, ok := client.KindNamed(agent.Error.Code); ok {
			kind = named
		}
	}
	return fault.Newf(kind, "cli.run", "process %s %s: %s", agent.PID, agent.State, reason).
		WithFix("see agentos logs " + agent.PID)
}

// noModel names the models there are, so that the next try can name one of them.
func noModel(ctx context.Context, c *client.Client) error {
	models, err := c.Models(ctx)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(models))
	for _, m := range models {
		names = append(names, m.ID)
	}
	known := "this kernel knows no model"
	if len(names) > 0 {
		known = "this kernel knows " + strings.Join(names, ", ")
	}
	return fault.New(fault.Invalid, "cli.run", "no model is named").WithFix("add --model provider/model; " + known)
}
