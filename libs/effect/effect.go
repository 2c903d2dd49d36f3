// Package effect runs what a handler must not wait for, a model call or a tool call, so that its intent
// is durable before it starts and its outcome is recorded once.
//
// A handler commits the intent together with a lease and is done. Bounded workers run the effect and
// hand its outcome back as a command to the same shard, where it is decided like everything else: the
// outcome counts only while its attempt is the open one. While an effect runs its lease is renewed; when
// a crash ends that, the owner of the shard gets a Takeover and decides by the effect's class.
package effect

import (
	"context"
	"sync"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/telemetry"
)

// Effect is one attempt of one call.
type Effect struct {
	Tenant  string
	Subject string
	CallID  string // unique per tenant
	Attempt int    // from 1
	Class   string // what a crash means for it; see events/tool
}

// Outcome comes to the service's Handle as a command when run has returned.
type Outcome struct {
	Effect Effect
	Value  any // what run returned
}

// Takeover comes to the service's Handle as a command when a lease has run out: whoever ran the effect
// is gone and nobody knows how far it came.
type Takeover struct{ Effect Effect }

// Config bounds a Runner.
type Config struct {
	Concurrency int           // effects at once; default 256
	Lease       time.Duration // default 3 s; renewed at a third of it
}

// Runner runs the effects of one service.
type Runner struct {
	cfg   Config
	run   func(ctx context.Context, e Effect) any
	rt    *service.Runtime
	owner string
	slots chan struct{}
	wg    sync.WaitGroup

	mu      sync.Mutex
	running map[string]*attempt // by tenant and call id
	waiting []func()            // launches from before Loop began
	base    context.Context     //nolint:containedctx // the life of the service: effects outlive the batch that started them
}

// attempt is an effect that runs or waits for a worker.
type attempt struct{ cancel context.CancelCauseFunc }

// New makes a runner; run does the effect and returns its outcome. Bind must follow.
func New(cfg Config, run func(ctx context.Context, e Effect) any) *Runner {
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 256
	}
	if cfg.Lease == 0 {
		cfg.Lease = 3 * time.Second
	}
	return &Runner{cfg: cfg, run: run, slots: make(chan struct{}, cfg.Concurrency), running: map[string]*attempt{}}
}

// Bind ties the runner to the service that it works for; owner names this replica in the leases.
func (r *Runner) Bind(rt *service.Runtime, owner string) { r.rt, r.owner = rt, owner }

const startSQL = `INSERT INTO effects (tenant, subject, call_id, attempt, class, shard, owner, lease_until, traceparent)
	VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8 * interval '1 millisecond', $9)
	ON CONFLICT (tenant, call_id) DO UPDATE SET attempt = excluded.attempt, class = excluded.class,
	  owner = excluded.owner, lease_until = excluded.lease_until, traceparent = excluded.traceparent`

// Start leases the effect in the unit's transaction and runs it after the commit.
func (r *Runner) Start(u *service.Unit, e Effect) {
	if u.Rebuilding() {
		return
	}
	trace := u.TraceParent()
	u.Exec(startSQL, e.Tenant, e.Subject, e.CallID, e.Attempt, e.Class, r.rt.Shard(e.Subject), r.owner,
		r.cfg.Lease.Milliseconds(), trace)
	u.AfterCommit(func() { r.launch(e, trace) })
}

// Done removes the lease in the transaction that records the outcome.
func (r *Runner) Done(u *service.Unit, e Effect) {
	if u.Rebuilding() {
		return
	}
	u.Exec("DELETE FROM effects WHERE tenant = $1 AND call_id = $2 AND attempt = $3", e.Tenant, e.CallID, e.Attempt)
}

// Cancel ends the context of a running effect; its run returns an outcome all the same. It reports
// whether the effect runs here.
func (r *Runner) Cancel(tenant, callID string, cause error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.running[tenant+"\x00"+callID]
	if ok {
		a.cancel(cause)
	}
	return ok
}

func (r *Runner) launch(e Effect, trace string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.base == nil:
		r.waiting = append(r.waiting, func() { r.launch(e, trace) })
		return
	case r.base.Err() != nil:
		return // stopping: the lease runs out and the next owner takes over
	}
	key := e.Tenant + "\x00" + e.CallID
	if old, ok := r.running[key]; ok {
		old.cancel(fault.New(fault.Canceled, "effect", "another attempt has begun"))
	}
	ctx, cancel := context.WithCancelCause(telemetry.ContextWithTrace(r.base, trace))
	mine := &attempt{cancel}
	r.running[key] = mine
	r.wg.Go(func() {
		defer cancel(nil)
		select {
		case r.slots <- struct{}{}:
			defer func() { <-r.slots }()
		case <-ctx.Done(): // cancelled while it waited: run is told at once
		}
		value := r.run(ctx, e)
		r.mu.Lock()
		if r.running[key] == mine {
			delete(r.running, key)
		}
		stopped := r.base.Err() != nil
		r.mu.Unlock()
		if stopped {
			return // cut short by a stop: not an outcome; the lease runs out and the call is taken over
		}
		r.rt.PostTrace(e.Tenant, e.Subject, trace, Outcome{e, value})
	})
}

// Loop renews the leases of running effects and finds those that ran out. Put it into the service's
// Background; effects run only while it does. When ctx ends, running effects are given grace to finish
// before they are cut.
func (r *Runner) Loop(grace time.Duration) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		base, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		r.mu.Lock()
		r.base = base
		early := r.waiting
		r.waiting = nil
		r.mu.Unlock()
		for _, launch := range early {
			launch()
		}
		tick := time.NewTicker(r.cfg.Lease / 3)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				r.drain(grace)
				stop()
				r.wg.Wait()
				return nil
			case <-tick.C:
				if err := r.renew(ctx); err != nil && ctx.Err() == nil {
					r.rt.Logger().WarnContext(ctx, "cannot renew leases", "error", err)
				}
				if err := r.takeOver(ctx); err != nil && ctx.Err() == nil {
					r.rt.Logger().WarnContext(ctx, "cannot look for lost effects", "error", err)
				}
			}
		}
	}
}

// drain waits for running effects, for at most grace.
func (r *Runner) drain(grace time.Duration) {
	deadline := time.Now().Add(grace)
	for time.Now().Before(deadline) && r.Running() > 0 {
		time.Sleep(20 * time.Millisecond)
	}
}

// Running is the number of effects that run or wait for a worker here.
func (r *Runner) Running() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.running)
}

// renew waits for no row. A commit that ends several calls holds their rows in its own order: to wait for
// one of them while holding another would be a deadlock, and would let the other leases run out. What is
// locked is about to end, or is renewed the next time.
func (r *Runner) renew(ctx context.Context) error {
	if r.Running() == 0 {
		return nil
	}
	_, err := r.rt.DB().Exec(ctx, `UPDATE effects SET lease_until = clock_timestamp() + $2 * interval '1 millisecond'
		WHERE (tenant, call_id) IN (SELECT tenant, call_id FROM effects WHERE owner = $1 AND shard = ANY($3)
			FOR UPDATE SKIP LOCKED)`, r.owner, r.cfg.Lease.Milliseconds(), shards(r.rt))
	return err
}

// takeOver claims effects of owned shards whose lease has run out. The claim itself is a lease, so that
// a claimant that dies is followed by another.
func (r *Runner) takeOver(ctx context.Context) error {
	owned := shards(r.rt)
	if len(owned) == 0 {
		return nil
	}
	rows, err := r.rt.DB().Query(ctx, `UPDATE effects SET owner = $1, lease_until = clock_timestamp() + $2 * interval '1 millisecond'
		WHERE (tenant, call_id) IN (SELECT tenant, call_id FROM effects WHERE shard = ANY($3) AND lease_until < clock_timestamp()
			ORDER BY lease_until LIMIT 500 FOR UPDATE SKIP LOCKED)
		RETURNING tenant, subject, call_id, attempt, class, traceparent`, r.owner, r.cfg.Lease.Milliseconds(), owned)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e Effect
		var trace string
		if err := rows.Scan(&e.Tenant, &e.Subject, &e.CallID, &e.Attempt, &e.Class, &trace); err != nil {
			return err
		}
		r.mu.Lock()
		_, here := r.running[e.Tenant+"\x00"+e.CallID]
		r.mu.Unlock()
		if !here {
			r.rt.PostTrace(e.Tenant, e.Subject, trace, Takeover{e})
		}
	}
	return rows.Err()
}

func shards(rt *service.Runtime) []int32 {
	var out []int32
	for _, s := range rt.Owned() {
		out = append(out, int32(s)) //nolint:gosec // a partition number
	}
	return out
}
