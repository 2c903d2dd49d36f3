package stack

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
)

// endKinds are the events that end a process, by the state it is in then.
func endKinds() map[string]string {
	return map[string]string{
		"completed": agent.Completed{}.Kind(), "failed": agent.Failed{}.Kind(), "terminated": agent.Terminated{}.Kind(),
	}
}

// EndStates lists the states in which a process may be archived.
func EndStates() []string { return []string{"completed", "failed", "terminated"} }

// Archived is what an archive run moved, or with a dry run would move.
type Archived struct {
	Processes map[string]int64 // by their state
	Streams   int64
	Events    int64
	Bytes     int64
}

// Archive moves the streams of processes that ended in one of the states, before a time, to the cold part
// of the event store, and drops the snapshots of them. It may run beside a running kernel.
func Archive(ctx context.Context, infra *Infra, states []string, before time.Time, dry bool) (Archived, error) {
	const op = "stack.archive"
	var kinds []string
	for _, s := range states {
		if !slices.Contains(EndStates(), s) {
			return Archived{}, fault.Newf(fault.Invalid, op, "a process in state %q is not archived", s).
				WithFix("name some of " + strings.Join(EndStates(), ", "))
		}
		kinds = append(kinds, endKinds()[s])
	}
	conn, err := pgx.Connect(ctx, infra.DatabaseURL)
	if err != nil {
		return Archived{}, fault.Wrap(fault.Unavailable, op, "the database does not answer", err).
			WithFix("start the kernel with `agentos up`, or the database with `agentos serve infra`")
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing is open on it
	policy := eventstore.ArchivePolicy{Kinds: kinds, Before: before, Families: processFamilies()}
	got, err := eventstore.Archive(ctx, conn, policy, dry, func(tenant, stream []string) error {
		for _, p := range parts() {
			if err := service.DropSnapshots(ctx, conn, p.schema, tenant, stream); err != nil {
				return err
			}
		}
		return nil
	})
	out := Archived{Processes: map[string]int64{}, Streams: got.Streams, Events: got.Events, Bytes: got.Bytes}
	for _, s := range EndStates() {
		if n := got.Subjects[endKinds()[s]]; n > 0 {
			out.Processes[s] = n
		}
	}
	return out, err
}

// processFamilies are the families with a stream for each process.
func processFamilies() []events.Family {
	return []events.Family{events.Agent, events.Context, events.LLM, events.Tool, events.Learning}
}
