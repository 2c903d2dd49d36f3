package handle

import (
	"context"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/core"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/store"
)

// foldsKept bounds the processes a rebuild keeps folded; past it they are folded anew when needed.
const foldsKept = 20_000

// fold is a process as it was after one of its events.
type fold struct {
	state   core.State
	version int64
}

// Rebuild writes the row of a process as one of its own events left it: the process table is a fold of
// the agent streams alone. The times of a row are those of its first and last event.
func (h *Handler) Rebuild(ctx context.Context, u *service.Unit, in *service.Input) error {
	key := in.Tenant + "\x00" + in.Subject
	f, kept := h.folds[key]
	if v := in.Record.StreamVersion; v > 1 && (!kept || f.version != v-1) {
		var err error
		if f, err = h.refold(ctx, u, in.Record); err != nil {
			return err
		}
	}
	spawned := !f.state.Exists()
	f.state, f.version = core.Evolve(f.state, in.Event), in.Record.StreamVersion
	if !kept && len(h.folds) >= foldsKept {
		clear(h.folds)
	}
	h.folds[key] = f
	store.Save(u, in.Tenant, in.Subject, h.shard(in.Subject), f.state, f.version, spawned)
	return nil
}

// refold is the process as it was before a record.
func (h *Handler) refold(ctx context.Context, u *service.Unit, before *events.Record) (fold, error) {
	var f fold
	recs, err := eventstore.ReadStream(ctx, u.DB(), before.Tenant, before.Stream, 0, int(before.StreamVersion-1))
	if err != nil {
		return f, err
	}
	for _, r := range recs {
		e, err := h.decode(r)
		if err != nil {
			return f, fault.Wrap(fault.Invalid, "scheduler.rebuild", "an event cannot be read", err)
		}
		f.state, f.version = core.Evolve(f.state, e), r.StreamVersion
	}
	return f, nil
}
