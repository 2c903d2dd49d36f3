package main

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/cmd/agentos/internal/stack"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
)

// database is the infrastructure that the verbs that take the database, not the server, work on.
func database() (*stack.Infra, error) {
	home, err := client.Home()
	if err != nil {
		return nil, err
	}
	return findInfra(home, 0)
}

// operate runs f on a connection of a service's role.
func operate(ctx context.Context, name string, f func(*stack.Operator) error) error {
	infra, err := database()
	if err != nil {
		return err
	}
	op, err := infra.Operate(ctx, name, masterKeyFile())
	if err != nil {
		return err
	}
	defer func() { _ = op.Close(context.WithoutCancel(ctx)) }() // nothing is open on it
	return f(op)
}

// parkedFlags select what is parked.
type parkedFlags struct {
	service string
	tenant  string
}

func parkedCommand(a *app) *cobra.Command {
	var f parkedFlags
	cmd := &cobra.Command{
		Use:   "parked",
		Short: "Look at events a service could not handle, and give them back",
		Long: `An event that a service cannot handle is put aside with the reason, and what comes
after it in the same stream waits behind it in order; other streams go on.

These verbs take the database, not the server. They work beside a running service,
which does within seconds what is asked; one that does not run does it when it starts.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&f.service, "service", "", "only this service's (ls: default all)")
	cmd.PersistentFlags().StringVar(&f.tenant, "tenant", events.DefaultTenant, "tenant of the stream")
	cmd.AddCommand(parkedLsCommand(a, &f), parkedShowCommand(a, &f),
		parkedAskCommand(a, &f, "retry STREAM", "Handle the parked events of a stream again, in order",
			`Handle the first parked event of a stream again, and then those behind it. If it fails
again it stays parked with the new reason, and so does what is behind it.`, service.RetryParked),
		parkedAskCommand(a, &f, "drop STREAM", "Skip the first parked event of a stream",
			`Skip the first parked event of a stream for this service and handle those behind it. The
event stays in the event store; that it was dropped is kept, and a rebuild skips it too.`, service.DropParked))
	return cmd
}

type parkedRow struct {
	Service string `json:"service"`
	service.Parked
}

func parkedLsCommand(a *app, f *parkedFlags) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List what is parked", Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			names := stack.ServiceNames()
			if f.service != "" {
				names = []string{f.service}
			}
			rows := []parkedRow{}
			for _, name := range names {
				err := operate(cmd.Context(), name, func(op *stack.Operator) error {
					list, err := service.ListParked(cmd.Context(), op.Conn, "")
					for _, p := range list {
						rows = append(rows, parkedRow{name, p})
					}
					return err
				})
				if err != nil {
					return err
				}
			}
			if a.json {
				return writeJSON(cmd.OutOrStdout(), rows)
			}
			table := [][]string{{"SERVICE", "STREAM", "VERSION", "KIND", "STATE", "AT", "REASON"}}
			for _, r := range rows {
				table = append(table, []string{
					r.Service, r.Stream, strconv.FormatInt(r.Version, 10), r.Kind, r.State, r.At.Format(time.RFC3339), clip(r.Reason, 80),
				})
			}
			return writeTable(cmd.OutOrStdout(), table)
		}),
	}
}

func parkedShowCommand(a *app, f *parkedFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show STREAM", Short: "Show the parked events of a stream with their reasons", Args: cobra.ExactArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			if err := f.named(); err != nil {
				return err
			}
			return operate(cmd.Context(), f.service, func(op *stack.Operator) error {
				list, err := service.ListParked(cmd.Context(), op.Conn, args[0])
				if err != nil {
					return err
				}
				found := false
				for _, p := range list {
					if p.Tenant != f.tenant {
						continue
					}
					found = true
					recs, err := eventstore.ReadStream(cmd.Context(), op.Conn, p.Tenant, p.Stream, p.Version-1, 1)
					if err != nil {
						return err
					}
					if err := showParked(cmd.OutOrStdout(), a.json, parkedRow{f.service, p}, op.Registry, recs); err != nil {
						return err
					}
				}
				if !found {
					return fault.Newf(fault.NotFound, "cli.parked", "nothing of stream %q is parked", args[0]).
						WithFix("`agentos parked ls` lists what is")
				}
				return nil
			})
		}),
	}
}

func showParked(out io.Writer, asJSON bool, p parkedRow, reg *events.Registry, recs []events.Record) error {
	if asJSON {
		doc := struct {
			parkedRow
			Event *events.Document `json:"event,omitempty"`
		}{parkedRow: p}
		if len(recs) > 0 {
			e := reg.Document(recs[0])
			doc.Event = &e
		}
		return writeJSON(out, doc)
	}
	if err := writef(out, "%s: %s\n", p.State, printable(p.Reason)); err != nil {
		return err
	}
	for _, r := range recs {
		if err := showEvent(out, reg, r); err != nil {
			return err
		}
	}
	return nil
}

func (f *parkedFlags) named() error {
	if f.service == "" {
		return fault.New(fault.Invalid, "cli.parked", "--service is missing: each service parks for itself").
			WithFix("`agentos parked ls` shows which one it is")
	}
	return nil
}

// parkedWait is how long retry and drop wait for a running service to do what was asked.
const parkedWait = 15 * time.Second

func parkedAskCommand(a *app, f *parkedFlags, use, short, long string,
	ask func(ctx context.Context, conn *pgx.Conn, tenant, stream string) (int64, error),
) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.ExactArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			if err := f.named(); err != nil {
				return err
			}
			return operate(cmd.Context(), f.service, func(op *stack.Operator) error {
				n, err := ask(cmd.Context(), op.Conn, f.tenant, args[0])
				if err != nil {
					return err
				}
				o := parkedOutcome{Asked: n}
				if o.Live, err = service.Live(cmd.Context(), op.Conn, op.Name); err != nil {
					return err
				}
				if o.Live {
					err = o.await(cmd.Context(), op, f.tenant, args[0])
				}
				if err != nil {
					return err
				}
				if a.json {
					return writeJSON(cmd.OutOrStdout(), o)
				}
				return writef(cmd.OutOrStdout(), "%s\n", o.text())
			})
		}),
	}
}

// parkedOutcome is what came of a retry or a drop.
type parkedOutcome struct {
	Asked   int64  `json:"asked"`   // events that were parked
	Live    bool   `json:"live"`    // the service runs
	Pending int    `json:"pending"` // not done yet
	Parked  int    `json:"parked"`  // parked again
	Reason  string `json:"reason,omitempty"`
}

// await waits until the service has done what was asked, for a while.
func (o *parkedOutcome) await(ctx context.Context, op *stack.Operator, tenant, stream string) error {
	for deadline := time.Now().Add(parkedWait); ; {
		list, err := service.ListParked(ctx, op.Conn, stream)
		if err != nil {
			return err
		}
		o.Pending, o.Parked, o.Reason = 0, 0, ""
		for _, p := range list {
			switch {
			case p.Tenant != tenant || p.State == "dropped":
			case p.State == "parked":
				if o.Parked++; o.Parked == 1 {
					o.Reason = p.Reason
				}
			default:
				o.Pending++
			}
		}
		if o.Pending == 0 || time.Now().After(deadline) {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fault.Wrap(fault.Canceled, "cli.parked", "no longer waiting; what was asked will be done", ctx.Err())
		}
	}
}

func (o *parkedOutcome) text() string {
	switch {
	case !o.Live:
		return strconv.FormatInt(o.Asked, 10) + " events will be handled when the service starts: it does not run"
	case o.Pending > 0:
		return strconv.Itoa(o.Pending) + " events are still to be handled; `agentos parked ls` shows how it goes on"
	case o.Parked > 0:
		return strconv.Itoa(o.Parked) + " events are parked: " + clip(o.Reason, 200)
	}
	return "done: nothing of the stream is parked any more"
}
