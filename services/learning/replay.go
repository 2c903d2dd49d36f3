package learning

import (
	"context"
	"errors"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/learning/internal/core"
)

// Stats is the runs of one agent name.
type Stats = core.Stats

const replayPage = 2000 // records read at once

// ReplayOptions says what to replay.
type ReplayOptions struct {
	Tenant string // whose processes; "" means events.DefaultTenant
	From   int64  // first position; 0 and 1 mean the beginning
	To     int64  // last position; 0 means all that is safe to read now
}

// ReplayResult is what a replay found.
type ReplayResult struct {
	From    int64   `json:"from"`
	To      int64   `json:"to"`
	Events  int64   `json:"events"`  // read
	Unknown int64   `json:"unknown"` // of kinds or versions this program does not know; left out
	Erased  int64   `json:"erased"`  // of which the tenant's data was erased; left out
	Partial int64   `json:"partial"` // processes that began before From; left out of the stats
	Agents  []Stats `json:"agents"`  // by name
}

// Replay reads events from the event store in the order of their positions through the same fold as live
// events, and adds the trajectories up. It touches no table but the event store's and keeps one small head
// per process in memory.
func Replay(ctx context.Context, q eventstore.Querier, reg *events.Registry, o ReplayOptions) (ReplayResult, error) {
	const op = "learning.replay"
	if o.From < 0 || o.To < 0 || (o.To > 0 && o.To < o.From) {
		return ReplayResult{}, fault.Newf(fault.Invalid, op, "cannot replay from %d to %d", o.From, o.To).
			WithFix("positions count from 1; leave out --to to read to the end")
	}
	if o.Tenant == "" {
		o.Tenant = events.DefaultTenant
	}
	safe, err := eventstore.SafeNow(ctx, q)
	if err != nil {
		return ReplayResult{}, err
	}
	if o.To == 0 || o.To > safe {
		o.To = safe
	}
	p := replay{tenant: o.Tenant, heads: map[string]*core.Head{}, out: ReplayResult{From: o.From, To: o.To}}
	for after := max(o.From-1, 0); ; {
		recs, err := eventstore.ReadAll(ctx, q, after, o.To, replayPage)
		if err != nil {
			return p.out, err
		}
		for i := range recs {
			if err := p.apply(&recs[i], reg); err != nil {
				return p.out, err
			}
		}
		if len(recs) < replayPage {
			return p.result(), nil
		}
		after = recs[len(recs)-1].Position
	}
}

type replay struct {
	tenant string
	heads  map[string]*core.Head // by pid
	out    ReplayResult
}

func (p *replay) apply(r *events.Record, reg *events.Registry) error {
	if r.Tenant != p.tenant {
		return nil
	}
	p.out.Events++
	if !core.Relevant(r.Kind) {
		return nil
	}
	e, err := reg.Decode(*r)
	if err != nil {
		if _, unknown := errors.AsType[*events.UnknownKindError](err); unknown {
			p.out.Unknown++
			return nil
		}
		if _, erased := errors.AsType[*events.ErasedError](err); erased {
			p.out.Erased++
			return nil
		}
		return fault.Wrap(fault.Internal, "learning.replay", "an event cannot be read", err)
	}
	pid := r.Subject()
	h := p.heads[pid]
	if h == nil {
		h = &core.Head{}
		p.heads[pid] = h
	}
	var step *core.Step
	if n, ok := core.StepOf(e); ok {
		step = &core.Step{Step: n} // only heads are added up
	}
	core.Apply(h, step, r, e)
	return nil
}

func (p *replay) result() ReplayResult {
	totals := core.Totals{}
	for _, h := range p.heads {
		if h.StartedAt.IsZero() {
			p.out.Partial++
			continue
		}
		totals.Add(h)
	}
	p.out.Agents = totals.ByName()
	return p.out
}
