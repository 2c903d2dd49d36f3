package service

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/telemetry"
)

// Runtime runs one service.
type Runtime struct {
	def     Definition
	deps    Deps
	log     *slog.Logger
	metrics *metrics

	shards []*shard
	relay  *relay
	notify *notifier
	// snapshots writes the states of long streams.
	snapshots *snapshots
	pub       *bus.Publisher
	consumer  *bus.Consumer
	gens      atomic.Int64
	doubts    doubts
	started   chan struct{} // closed once commands are taken
	stopped   chan struct{} // closed once none is taken any more
	assigned  atomic.Bool   // the first assignment has come
	erased    atomic.Int64  // records that could not be read any more
}

// New prepares a service; nothing runs before Run.
func New(def Definition, deps Deps) (*Runtime, error) {
	if def.Name == "" || def.Family == "" || def.Handle == nil {
		return nil, fault.New(fault.Invalid, "service.new", "a service needs a name, a family and a handler")
	}
	if deps.Keys != nil {
		deps.Registry = deps.Registry.Opening(deps.Keys.Open)
	}
	if deps.GraceTime == 0 {
		deps.GraceTime = 10 * time.Second
	}
	pub, err := bus.NewPublisher(deps.Bus)
	if err != nil {
		return nil, err
	}
	r := &Runtime{
		def: def, deps: deps, log: deps.Logger.With("service", def.Name), pub: pub,
		metrics: newMetrics(deps.Metrics, def.Name), started: make(chan struct{}),
		stopped: make(chan struct{}),
	}
	for i := range deps.Partitions {
		r.shards = append(r.shards, &shard{rt: r, id: i, in: make(chan work, batchInputs), pos: map[streamKey]position{}, dirty: map[streamKey]struct{}{}, unparks: make(chan streamKey, 64)})
	}
	r.relay, r.notify, r.snapshots = newRelay(r), newNotifier(r, deps.Partitions), newSnapshots(r)
	topics := make([]string, 0, len(def.Consumes))
	for _, f := range def.Consumes {
		topics = append(topics, f.Topic())
	}
	cfg := deps.Bus
	cfg.GraceTime = deps.GraceTime
	r.consumer, err = bus.NewConsumer(cfg, "agentos."+def.Name, topics, (*intake)(r))
	if err != nil {
		return nil, errors.Join(err, pub.Close())
	}
	register(deps.Metrics, newLagCollector(r))
	register(deps.Metrics, def.Metrics...)
	return r, nil
}

// Definition is what the runtime runs.
func (r *Runtime) Definition() Definition { return r.def }

// DB is the pool of the service's role.
func (r *Runtime) DB() *pgxpool.Pool { return r.deps.DB }

// Logger is the service's logger.
func (r *Runtime) Logger() *slog.Logger { return r.log }

// unused reports whether a record that could not be decoded is a newer version of a kind that the service
// does not look at.
func (r *Runtime) unused(kind string, err error) bool {
	if _, unknown := errors.AsType[*events.UnknownKindError](err); !unknown || len(r.def.Uses) == 0 {
		return false
	}
	return r.deps.Registry.Knows(kind) && !slices.ContainsFunc(r.def.Uses, func(e events.Event) bool { return e.Kind() == kind })
}

// Decode turns a record into its fact. Of a record whose tenant's data was erased it is fault.NotFound with
// *events.ErasedError behind it.
func (r *Runtime) Decode(rec events.Record) (events.Event, error) {
	e, err := r.deps.Registry.Decode(rec)
	return e, r.erasedFault(err)
}

// Body is a record's JSON, with the same error as Decode.
func (r *Runtime) Body(rec events.Record) ([]byte, error) {
	data, err := r.deps.Registry.Body(rec)
	return data, r.erasedFault(err)
}

func (r *Runtime) erasedFault(err error) error {
	if !erased(err) {
		return err
	}
	r.metrics.erased.Inc()
	r.erased.Add(1)
	return fault.Wrap(fault.NotFound, "service.decode", "the event was erased with all data of its tenant", err)
}

// erased reports whether an error says that a record's body is gone for good: it is skipped, for nobody
// will ever be able to handle it.
func erased(err error) bool {
	_, ok := errors.AsType[*events.ErasedError](err)
	return ok
}

// ReadStream is the records of one stream from a version on.
func (r *Runtime) ReadStream(ctx context.Context, tenant, stream string, fromVersion int64) ([]events.Record, error) {
	return eventstore.ReadStream(ctx, r.deps.DB, tenant, stream, fromVersion-1, 0)
}

// Publish sends messages that are no facts, such as token deltas, past the event store.
func (r *Runtime) Publish(ctx context.Context, topic, key string, msgs ...*message.Message) error {
	for _, m := range msgs {
		m.Metadata[bus.KeyMetadata] = key
	}
	return r.pub.PublishContext(ctx, topic, msgs...)
}

// Owned lists the shards this replica owns now.
func (r *Runtime) Owned() []int {
	var out []int
	for i, s := range r.shards {
		if s.gen.Load() != 0 {
			out = append(out, i)
		}
	}
	return out
}

// Shard is the shard of a subject: the partition its events travel in.
func (r *Runtime) Shard(subject string) int { return bus.Partition(subject, r.deps.Partitions) }

// Do runs a command through Handle in the subject's shard and returns its answer after the commit.
// When ctx ends first the command may still run.
func (r *Runtime) Do(ctx context.Context, tenant, subject string, cmd any) (any, error) {
	in := &Input{Command: cmd, Tenant: tenant, Subject: subject, trace: telemetry.TraceParent(ctx), done: make(chan result, 1)}
	done := in.done // the shard's from now on is in itself
	if err := r.submit(ctx, in); err != nil {
		return nil, err
	}
	select {
	case res := <-done:
		return res.value, res.err
	case <-r.stopped:
		select {
		case res := <-done: // it was among the last
			return res.value, res.err
		default:
			return nil, stopping(nil)
		}
	case <-ctx.Done():
		return nil, fault.Wrap(fault.Canceled, r.def.Name+".do", "given up while waiting for the commit", ctx.Err())
	}
}

func (r *Runtime) submit(ctx context.Context, in *Input) error {
	s := r.shards[r.Shard(in.Subject)]
	select {
	case s.in <- work{inputs: []*Input{in}}:
		return nil
	case <-r.stopped:
		return stopping(nil)
	case <-ctx.Done():
		return fault.Wrap(fault.Unavailable, r.def.Name+".do", "the service is too busy", ctx.Err()).
			WithFix("try again in a moment")
	}
}

// Post runs a command like Do, but nobody waits for it. It never blocks the caller.
func (r *Runtime) Post(tenant, subject string, cmd any) { r.PostTrace(tenant, subject, "", cmd) }

// PostTrace is Post with the trace context the command belongs to.
func (r *Runtime) PostTrace(tenant, subject, trace string, cmd any) {
	in := &Input{Command: cmd, Tenant: tenant, Subject: subject, trace: trace}
	s := r.shards[r.Shard(subject)]
	w := work{inputs: []*Input{in}}
	select {
	case s.in <- w:
	default:
		go func() { s.in <- w }() // the shard is behind; the goroutine ends when it has caught up
	}
}

// Run runs the service until ctx ends, then drains: no new messages, running batches to their commit,
// the outbox to the broker as far as it goes within the grace time.
func (r *Runtime) Run(ctx context.Context) error {
	base := context.WithoutCancel(ctx)
	shardCtx, stopShards := context.WithCancel(base)
	defer stopShards()
	relayCtx, stopRelay := context.WithCancel(base)
	defer stopRelay()

	here := &presence{rt: r}
	if err := here.await(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	var shards, relay sync.WaitGroup
	for _, s := range r.shards {
		shards.Go(func() { s.loop(shardCtx) })
	}
	r.relay.stopping = ctx.Done()
	relay.Go(func() { r.relay.run(relayCtx) })
	relay.Go(func() { r.notify.run(relayCtx) })
	relay.Go(func() { here.run(relayCtx) })
	close(r.started)

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.consumer.Run(gctx) })
	g.Go(func() error { return r.sweep(gctx) })
	g.Go(func() error { return r.unparkLoop(gctx) })
	g.Go(func() error { return r.sample(gctx) })
	g.Go(func() error { return r.snapshots.run(gctx) })
	for _, f := range r.def.Background {
		g.Go(func() error { return f(gctx) })
	}
	err := g.Wait()

	stopShards()
	shards.Wait()
	close(r.stopped)
	r.relay.flush(base, r.deps.GraceTime/2)
	stopRelay()
	relay.Wait()
	if cerr := r.pub.Close(); err == nil {
		err = cerr
	}
	if ctx.Err() != nil {
		return nil // asked to stop
	}
	return err
}

// Started is closed when the service takes commands.
func (r *Runtime) Started() <-chan struct{} { return r.started }

// Ready says why the service cannot do its work now, or nil.
func (r *Runtime) Ready(ctx context.Context) error {
	const op = "service.ready"
	if err := r.deps.DB.Ping(ctx); err != nil {
		return fault.Wrap(fault.Unavailable, op, r.def.Name+": Postgres is away", err)
	}
	if err := r.pub.Ping(ctx); err != nil {
		return fault.Wrap(fault.Unavailable, op, r.def.Name+": the broker is away", err)
	}
	if !r.assigned.Load() {
		return fault.New(fault.Unavailable, op, r.def.Name+": has not joined its consumer group yet")
	}
	return nil
}

// intake is the runtime as the bus sees it.
type intake Runtime

// Assigned implements bus.Handler.
func (h *intake) Assigned(ctx context.Context, shards []int) error {
	r := (*Runtime)(h)
	if r.def.Assigned != nil {
		if err := r.def.Assigned(ctx, shards); err != nil {
			return err
		}
	}
	gen := r.gens.Load() + 1
	for _, id := range shards {
		r.shards[id].gen.Store(gen)
	}
	r.gens.Store(gen) // last: the sweep of a new assignment passes over shards that are not owned yet
	r.assigned.Store(true)
	r.relay.wake(-1)
	r.log.InfoContext(ctx, "shards assigned", "shards", shards)
	return nil
}

// Revoked implements bus.Handler.
func (h *intake) Revoked(shards []int) {
	r := (*Runtime)(h)
	for _, id := range shards {
		r.shards[id].gen.Store(0)
	}
	r.relay.wake(-1)
}

// Handle implements bus.Handler: it returns once the messages' effects are durable.
func (h *intake) Handle(ctx context.Context, id int, msgs []*message.Message) error {
	r := (*Runtime)(h)
	if err := r.shards[id].pace(ctx, r.def.Pace); err != nil {
		return err
	}
	inputs := make([]*Input, 0, len(msgs))
	for _, m := range msgs {
		rec, err := FromMessage(m)
		if err != nil {
			// Not one of ours: nothing in the event store misses it, so there is nothing to park.
			r.log.WarnContext(ctx, "message without an envelope skipped", "message_id", m.UUID, "error", err)
			r.metrics.foreign.Inc()
			continue
		}
		inputs = append(inputs, r.recordInput(&rec))
	}
	return r.feed(ctx, id, inputs)
}

// feed gives records to a shard and waits for their commit.
func (r *Runtime) feed(ctx context.Context, id int, inputs []*Input) error {
	if len(inputs) == 0 {
		return nil
	}
	w := work{inputs: inputs, done: make(chan error, 1)}
	select {
	case r.shards[id].in <- w:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
