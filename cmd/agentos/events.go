package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/cmd/agentos/internal/stack"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func eventsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Read the event store",
		Long: `Read the facts that everything else is made of. tail and show take the database, not
the server, and change nothing; catalog needs neither.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(eventsTailCommand(a), eventsShowCommand(a), eventsCatalogCommand(a))
	return cmd
}

// reader is the service whose role reads: every role may read events.
const reader = "learning"

// tailFlags select events.
type tailFlags struct {
	from   int64
	follow bool
	kind   string
	stream string
	tenant string
}

func eventsTailCommand(a *app) *cobra.Command {
	var f tailFlags
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print events in the order of their positions",
		Long: `Print events, one a line, up to the last position below which nothing can appear any
more: no event is missed and none is out of order, however many write at the same time.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			if f.from < 0 {
				return fault.Newf(fault.Invalid, "cli.events", "there is no position %d", f.from).WithFix("positions count from 1")
			}
			return operate(cmd.Context(), reader, func(op *stack.Operator) error {
				return tail(cmd.Context(), cmd.OutOrStdout(), op, f, a.json)
			})
		}),
	}
	cmd.Flags().Int64Var(&f.from, "from", 0, "first position (default: the last 20 events, with -f none)")
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with events as they come")
	cmd.Flags().StringVar(&f.kind, "kind", "", "only kinds that begin with this, such as llm or agent.step")
	cmd.Flags().StringVar(&f.stream, "stream", "", "only this stream, such as agent/PID")
	cmd.Flags().StringVar(&f.tenant, "tenant", "", "only this tenant's")
	return cmd
}

const (
	tailLast = 20
	tailPage = 500
	tailPoll = 50 * time.Millisecond
)

const tailSQL = `SELECT pos, tenant, stream, version, event_id::text, kind, schema_version, time, correlation, causation,
	traceparent, data FROM eventstore.events
	WHERE pos > $1 AND pos <= $2 AND starts_with(kind, $3) AND ($4 = '' OR stream = $4) AND ($5 = '' OR tenant = $5)
	ORDER BY pos LIMIT $6`

const tailStartSQL = `SELECT coalesce(min(pos) - 1, 0) FROM (SELECT pos FROM eventstore.events
	WHERE pos <= $1 AND starts_with(kind, $2) AND ($3 = '' OR stream = $3) AND ($4 = '' OR tenant = $4)
	ORDER BY pos DESC LIMIT $5) AS x`

func tail(ctx context.Context, out io.Writer, conn *stack.Operator, f tailFlags, asJSON bool) error {
	const op = "cli.events"
	safe, err := eventstore.SafeNow(ctx, conn)
	if err != nil {
		return err
	}
	after := f.from - 1
	switch {
	case f.from == 0 && f.follow:
		after = safe
	case f.from == 0:
		if err := conn.QueryRow(ctx, tailStartSQL, safe, f.kind, f.stream, f.tenant, tailLast).Scan(&after); err != nil {
			return eventstore.Classify(op, err)
		}
	}
	var mark eventstore.Watermark
	for {
		recs, err := eventstore.Collect(ctx, conn, op, tailSQL, after, safe, f.kind, f.stream, f.tenant, tailPage)
		if err != nil {
			return stopped(ctx, err)
		}
		for _, r := range recs {
			if err := printEvent(out, conn.Registry, r, asJSON); err != nil {
				return err
			}
			after = r.Position
		}
		if len(recs) == tailPage {
			continue
		}
		if !f.follow {
			return nil
		}
		after = max(after, safe)
		for safe <= after {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(tailPoll):
			}
			n, err := mark.Advance(ctx, conn)
			if err != nil {
				return stopped(ctx, err)
			}
			safe = max(safe, n)
		}
	}
}

// stopped is nil for an error that comes of the reader's having had enough.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func printEvent(out io.Writer, reg *events.Registry, r events.Record, asJSON bool) error {
	if asJSON {
		return writeJSON(out, reg.Document(r))
	}
	data, unread := reg.Show(r)
	if unread != "" {
		data = json.RawMessage("(" + unread + ")")
	}
	return writef(out, "%d  %s  %s v%d  %s  %s\n", r.Position, r.Time.Format("15:04:05.000"), r.Stream, r.StreamVersion, r.Kind,
		clip(string(data), 120))
}

func eventsShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show ID|POSITION", Short: "Show one event with its envelope", Args: cobra.ExactArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			column := "pos = $1"
			var key any
			if pos, err := strconv.ParseInt(args[0], 10, 64); err == nil {
				key = pos
			} else if id, err := uuid.Parse(args[0]); err == nil {
				column, key = "event_id = $1::text::uuid", id.String()
			} else {
				return fault.Newf(fault.Invalid, "cli.events", "%q is neither an event's id nor a position", args[0]).
					WithFix("`agentos events tail --json` shows both")
			}
			return operate(cmd.Context(), reader, func(op *stack.Operator) error {
				recs, err := eventstore.Collect(cmd.Context(), op.Conn, "cli.events", `SELECT pos, tenant, stream, version, event_id::text,
					kind, schema_version, time, correlation, causation, traceparent, data FROM eventstore.events WHERE `+column, key)
				if err != nil {
					return err
				}
				if len(recs) == 0 {
					return fault.Newf(fault.NotFound, "cli.events", "no event %s", args[0]).WithFix("`agentos events tail` lists events")
				}
				if a.json {
					return writeJSON(cmd.OutOrStdout(), op.Registry.Document(recs[0]))
				}
				return showEvent(cmd.OutOrStdout(), op.Registry, recs[0])
			})
		}),
	}
}

// showEvent prints an event for a person.
func showEvent(out io.Writer, reg *events.Registry, r events.Record) error {
	rows := [][]string{
		{"position", strconv.FormatInt(r.Position, 10)},
		{"id", r.ID},
		{"stream", r.Stream + " version " + strconv.FormatInt(r.StreamVersion, 10)},
		{"tenant", r.Tenant},
		{"kind", r.Kind + " version " + strconv.Itoa(r.SchemaVersion)},
		{"time", r.Time.Format(time.RFC3339Nano)},
		{"correlation", r.Correlation},
		{"causation", r.Causation},
		{"traceparent", r.TraceParent},
	}
	if err := writeTable(out, rows); err != nil {
		return err
	}
	data, unread := reg.Show(r)
	if unread != "" {
		return writef(out, "(%s)\n", printable(unread))
	}
	text := string(data)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, data, "", "  "); err == nil {
		text = pretty.String()
	}
	return writef(out, "%s\n", printable(text))
}

// catalogRow is one version of one kind.
type catalogRow struct {
	Kind    string `json:"kind"`
	Version int    `json:"version"`
	Emitter string `json:"emitter"`
	Doc     string `json:"doc"`
}

func eventsCatalogCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "catalog [KIND-PREFIX]", Short: "List the kinds of events, who emits them and what they mean", Args: cobra.MaximumNArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			var rows []catalogRow
			for _, t := range catalog.Types() {
				if len(args) > 0 && !strings.HasPrefix(t.Kind, args[0]) {
					continue
				}
				rows = append(rows, catalogRow{t.Kind, t.Version, stack.Emitter(events.FamilyOf(t.Kind)), t.Doc})
			}
			if len(rows) == 0 {
				return fault.Newf(fault.NotFound, "cli.events", "no kind begins with %q", args[0]).
					WithFix("`agentos events catalog` lists all")
			}
			if a.json {
				return writeJSON(cmd.OutOrStdout(), rows)
			}
			table := [][]string{{"KIND", "VERSION", "EMITTED BY", "WHAT IT SAYS"}}
			for _, r := range rows {
				table = append(table, []string{r.Kind, strconv.Itoa(r.Version), r.Emitter, r.Doc})
			}
			return writeTable(cmd.OutOrStdout(), table)
		}),
	}
}
