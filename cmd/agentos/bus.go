package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/cmd/agentos/internal/stack"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
)

func busCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "bus", Short: "Work on the broker", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(busRebuildCommand(a))
	return cmd
}

func busRebuildCommand(a *app) *cobra.Command {
	var from, to int64
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Write events of the event store to the broker again",
		Long: `Write the events of a range of positions to the broker again, in order within each
stream: after a broker was emptied, or for a consumer of your own that begins later.

It may be done beside running services: they know each stream's version and drop what
they have handled. Consumers of your own see the events twice unless they do the same.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			if from < 1 || to < 0 || (to != 0 && to < from) {
				return fault.Newf(fault.Invalid, "cli.bus", "there are no positions from %d to %d", from, to).
					WithFix("give --from 1 or more, and --to not before it")
			}
			n, last, err := republish(cmd.Context(), from, to)
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(cmd.OutOrStdout(), map[string]int64{"events": n, "from": from, "to": last})
			}
			return writef(cmd.OutOrStdout(), "%d events written to the broker again, up to position %d\n", n, last)
		}),
	}
	cmd.Flags().Int64Var(&from, "from", 0, "first position (required)")
	cmd.Flags().Int64Var(&to, "to", 0, "last position; 0 is the end")
	return cmd
}

func republish(ctx context.Context, from, to int64) (n, last int64, err error) {
	infra, err := database()
	if err != nil {
		return 0, 0, err
	}
	log, err := verbLog()
	if err != nil {
		return 0, 0, err
	}
	pub, err := bus.NewPublisher(infra.Bus(log))
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		if cerr := pub.Close(); err == nil {
			err = cerr
		}
	}()
	err = operate(ctx, reader, func(op *stack.Operator) error {
		n, last, err = service.Republish(ctx, op.Conn, pub, from, to)
		return err
	})
	return n, last, err
}
