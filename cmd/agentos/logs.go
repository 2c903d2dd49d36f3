package main

import (
	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/libs/fault"
)

func logsCommand(a *app) *cobra.Command {
	var (
		follow, deltas bool
		after          int64
	)
	cmd := &cobra.Command{
		Use:   "logs PID",
		Short: "Show the events of a process",
		Long: `Show the events of a process, of all services, in their order: time, kind, what happened.
With --json one event a line, as the server has it.`,
		Args: cobra.ExactArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			if deltas && !follow {
				return fault.New(fault.Invalid, "cli.logs", "a model's output is not kept: it can only be followed").
					WithFix("add -f")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			s, err := newStory(cmd.OutOrStdout(), a.json, false)
			if err != nil {
				return err
			}
			if follow {
				return c.Follow(cmd.Context(), args[0], after, deltas, s.tell)
			}
			for ev, err := range c.Events(cmd.Context(), args[0], after) {
				if err != nil {
					return err
				}
				if err := s.fact(ev); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the process has ended")
	cmd.Flags().BoolVar(&deltas, "deltas", false, "with -f: the model's output as it comes")
	cmd.Flags().Int64Var(&after, "after", 0, "only events behind this position")
	return cmd
}
