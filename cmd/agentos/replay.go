package main

import (
	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// replayFlags is what `agentos replay` was asked for.
type replayFlags struct {
	JSON     bool
	From, To int64 // positions in the event store, both included; To 0 is the end
}

func replayCommand(a *app) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Feed past events to learning again",
		Long: `Read events from the event store and feed them to the code that also takes live ones:
trajectories, and for each agent name success rate, tokens and cost. It takes the
database, not the server, and changes nothing in it.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			if f.From < 0 || f.To < 0 || (f.To != 0 && f.To < f.From) {
				return fault.Newf(fault.Invalid, "cli.replay", "there are no positions from %d to %d", f.From, f.To).
					WithFix("give positions from 1 on, --from not behind --to; agentos logs shows them")
			}
			f.JSON = a.json
			return runReplay(cmd.Context(), cmd.OutOrStdout(), f)
		}),
	}
	cmd.Flags().Int64Var(&f.From, "from", 1, "first position")
	cmd.Flags().Int64Var(&f.To, "to", 0, "last position; 0 is the end")
	return cmd
}
