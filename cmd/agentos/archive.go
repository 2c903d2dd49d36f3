package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/cmd/agentos/internal/stack"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func archiveCommand(a *app) *cobra.Command {
	var states []string
	var older string
	var dry bool
	cmd := &cobra.Command{
		Use:   "archive",
		Short: "Move the events of ended processes to the cold part of the event store",
		Long: `Move the streams of processes that have ended to eventstore.events_archive, a table of its
own, so that the part that is written to stays small. Nothing is lost by it: every verb and
route reads archived processes as before, proofs of the audit log hold, and a message to one
is refused as to any that has ended. It takes the database, not the server, and may run
beside a running kernel, as often as you like: it moves some processes at a time. What is
kept hot for how long is up to you, by state:

  agentos archive --status completed --older-than 7d
  agentos archive --status failed,terminated --older-than 90d

"agentos up --archive-after 30d" does it by itself for all states; elsewhere let cron run it.

To take the cold part to other disks, or out of the database, as its owner:

  ALTER TABLE eventstore.events_archive SET TABLESPACE cold;

  ALTER TABLE eventstore.events_archive NO INHERIT eventstore.events;
  ALTER TABLE eventstore.events_archive RENAME TO events_2026;

and then start the kernel, or run "agentos migrate", which makes an empty one. What was taken
away cannot be read any more: the processes are listed without their events, "rebuild" and
"audit verify" name what is missing. The audit log itself keeps every event and its proofs.
"ALTER TABLE eventstore.events_2026 INHERIT eventstore.events" brings it back as it was.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			age, err := parseAge(older)
			if err != nil {
				return err
			}
			infra, err := database()
			if err != nil {
				return err
			}
			got, err := stack.Archive(cmd.Context(), infra, states, time.Now().Add(-age), dry)
			if err != nil {
				return err
			}
			d := archiveDocument{DryRun: dry, Processes: got.Processes, Streams: got.Streams, Events: got.Events, Bytes: got.Bytes}
			if a.json {
				return writeJSON(cmd.OutOrStdout(), d)
			}
			return writef(cmd.OutOrStdout(), "%s\n", d.text())
		}),
	}
	cmd.Flags().StringSliceVar(&states, "status", stack.EndStates(), "states of the processes to move")
	cmd.Flags().StringVar(&older, "older-than", "30d", "how long ago they ended, such as 12h or 30d")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be moved; move nothing")
	return cmd
}

// archiveLoop archives what ended longer ago than age, until ctx ends. A run that fails is logged and left
// to the next one: nothing waits for it.
func archiveLoop(ctx context.Context, infra *stack.Infra, age time.Duration, log *slog.Logger) error {
	tick := time.NewTicker(min(max(age/24, time.Second), time.Hour))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		got, err := stack.Archive(ctx, infra, stack.EndStates(), time.Now().Add(-age), false)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			log.WarnContext(ctx, "ended processes not archived", "error", err)
		case got.Events > 0:
			log.InfoContext(ctx, "ended processes archived", "streams", got.Streams, "events", got.Events)
		}
	}
}

// parseAge reads a duration that may be given in days.
func parseAge(s string) (time.Duration, error) {
	const day = 24 * time.Hour
	age, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		age = time.Duration(n) * day
		if n > int(1<<63-1)/int(day) {
			err = strconv.ErrRange
		}
	}
	if err != nil || age < 0 {
		return 0, fault.Newf(fault.Invalid, "cli.archive", "%q is no age", s).WithFix("give days or hours, such as 30d or 12h")
	}
	return age, nil
}

type archiveDocument struct {
	DryRun    bool             `json:"dry_run"`
	Processes map[string]int64 `json:"processes"` // by the state they ended in
	Streams   int64            `json:"streams"`
	Events    int64            `json:"events"`
	Bytes     int64            `json:"bytes"` // of the events' data
}

func (d archiveDocument) text() string {
	verbs := "moved to the cold part"
	if d.DryRun {
		verbs = "would be moved"
	}
	var n int64
	var by []string
	for _, s := range stack.EndStates() {
		if d.Processes[s] > 0 {
			n += d.Processes[s]
			by = append(by, fmt.Sprintf("%d %s", d.Processes[s], s))
		}
	}
	if n == 0 {
		return "no process has ended long enough ago: nothing " + verbs
	}
	return fmt.Sprintf("%d processes (%s): %d events of %d streams, %d KB, %s", n, strings.Join(by, ", "), d.Events, d.Streams, d.Bytes/1024, verbs)
}
