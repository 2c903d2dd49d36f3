package main

import (
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func killCommand(a *app) *cobra.Command {
	var (
		signal string
		grace  time.Duration
	)
	cmd := &cobra.Command{
		Use:   "kill PID",
		Short: "End a process",
		Long: `End a process. "terminate" lets running calls finish for the grace time, "kill" cancels
them at once.`,
		Args: cobra.ExactArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			spec := api.SignalSpec{Signal: api.SignalName(signal)}
			if !spec.Signal.Valid() || grace < 0 {
				return fault.Newf(fault.Invalid, "cli.kill", "there is no signal %q with a grace time of %s", signal, grace).
					WithFix("use --signal terminate or kill, and a --grace of 0s or more")
			}
			if spec.Signal == api.SignalTerminate {
				seconds := int(math.Ceil(grace.Seconds()))
				spec.GraceSeconds = &seconds
			}
			return a.kill(cmd, args[0], spec)
		}),
	}
	cmd.Flags().StringVar(&signal, "signal", string(api.SignalTerminate), "terminate or kill")
	cmd.Flags().DurationVar(&grace, "grace", 10*time.Second, "how long terminate waits for running calls")
	return cmd
}

func (a *app) kill(cmd *cobra.Command, pid string, spec api.SignalSpec) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	got, err := c.Signal(cmd.Context(), pid, spec)
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(cmd.OutOrStdout(), got)
	}
	return writef(cmd.OutOrStdout(), "%s gets %s\n", got.PID, got.Signal)
}
