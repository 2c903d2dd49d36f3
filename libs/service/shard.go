package service

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// shard handles all inputs of one partition, one batch after the other.
type shard struct {
	rt  *Runtime
	id  int
	in  chan work
	gen atomic.Int64 // > 0 while this replica owns the shard; another number for every assignment
	pos map[streamKey]position
	// dirty are the streams whose stored position is behind.
	dirty map[streamKey]struct{}
	// began is when the last batch from the bus began; only the bus touches it.
	began time.Time
	// seenGen is the generation pos belongs to.
	seenGen int64
	// doubt is set while a batch is tried again: no position is guessed then.
	doubt bool
	// later is what is done once the batch is answered.
	later []func()
	// unparks are the streams whose parked events an operator has asked for.
	unparks chan streamKey
}

// work is inputs that must commit before done is told.
type work struct {
	inputs []*Input
	done   chan error // nil for commands: their inputs carry their own
}

const (
	batchInputs  = 256              // inputs of one transaction
	commitLimit  = 15 * time.Second // a commit that takes longer is given up and tried again
	parkAttempts = 3
)

func (s *shard) loop(ctx context.Context) {
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	for {
		select {
		case <-ctx.Done():
			s.flush(ctx)
			return
		case <-flush.C:
			s.flush(ctx)
		case k := <-s.unparks:
			s.unpark(ctx, k)
		case w := <-s.in:
			works := []work{w}
			n := len(w.inputs)
		gather:
			for n < batchInputs {
				select {
				case more := <-s.in:
					works = append(works, more)
					n += len(more.inputs)
				default:
					break gather
				}
			}
			s.process(ctx, works)
		}
		for _, f := range s.later {
			f()
		}
		clear(s.later)
		s.later = s.later[:0]
	}
}

// pace waits until the least time between two batches is over; what comes meanwhile makes the next
// batch larger.
func (s *shard) pace(ctx context.Context, least time.Duration) error {
	if least > 0 {
		if wait := least - time.Since(s.began); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s.began = time.Now()
	}
	return nil
}

// process brings one batch to its commit, however often it takes. It returns early only when ctx ends.
func (s *shard) process(ctx context.Context, works []work) {
	var inputs []*Input
	for _, w := range works {
		inputs = append(inputs, w.inputs...)
	}
	err := s.settle(ctx, inputs)
	for _, w := range works {
		if w.done != nil {
			w.done <- err
		}
	}
	for _, in := range inputs {
		if in.done != nil {
			in.done <- result{in.reply, err}
			in.done = nil
		}
	}
}

// settle runs attempts until the batch has committed. A batch that cannot commit as a whole is run
// input by input, and what still fails alone is parked (records) or answered with its error (commands).
func (s *shard) settle(ctx context.Context, inputs []*Input) error {
	backoff := 5 * time.Millisecond
	for try := 1; ; try++ {
		s.doubt = try > 1
		err := s.attempt(ctx, inputs, nil)
		if err == nil {
			return nil
		}
		s.rt.metrics.retries.WithLabelValues(fault.KindOf(err).String()).Inc()
		s.forget()
		if ctx.Err() != nil {
			return stopping(err)
		}
		poison := fault.KindOf(err).Action() == fault.Park && try >= parkAttempts
		if poison && len(inputs) == 1 {
			return s.isolate(ctx, inputs[0], err)
		}
		// Inputs of one batch can also stand in each other's way, such as two requests with one key.
		if len(inputs) > 1 && (poison || (fault.Is(err, fault.Conflict) && try > parkAttempts)) {
			return s.settleEach(ctx, inputs)
		}
		if !fault.Is(err, fault.Conflict) || try > 3 {
			s.rt.log.WarnContext(ctx, "batch failed, trying again", "shard", s.id, "try", try, "inputs", len(inputs), "error", err)
		}
		select {
		case <-time.After(backoff):
			backoff = min(backoff*2, time.Second)
		case <-ctx.Done():
			return stopping(err)
		}
	}
}

// stopping is the answer to who waits for a commit that this replica will not make any more. Nothing of
// it is done: another replica, or this one after its start, does it when it is asked again.
func stopping(err error) error {
	return fault.Wrap(fault.Unavailable, "service.shard", "this replica is stopping", err).
		WithFix("send it again with the same Idempotency-Key: it is done once")
}

func (s *shard) settleEach(ctx context.Context, inputs []*Input) error {
	for _, in := range inputs {
		if err := s.settle(ctx, []*Input{in}); err != nil {
			return err
		}
	}
	return nil
}

// isolate finds which record it is that cannot be handled: the one given, or one that it brought in
// because Kafka had not delivered it or because it rests on it.
func (s *shard) isolate(ctx context.Context, in *Input, cause error) error {
	todo, _, err := s.sequence(ctx, []*Input{in})
	if err != nil || len(todo) < 2 {
		return s.park(ctx, in, cause)
	}
	return s.settleEach(ctx, todo)
}

// park puts a record aside with the reason and moves on; a command's error goes to who sent it.
func (s *shard) park(ctx context.Context, in *Input, cause error) error {
	if in.Record == nil {
		in.finish(nil, cause)
		return nil
	}
	s.rt.log.ErrorContext(in.context(ctx), "event parked", "kind", in.Record.Kind, "stream", in.Record.Stream,
		"version", in.Record.StreamVersion, "error", cause)
	for {
		s.doubt = true
		err := s.attempt(ctx, []*Input{in}, cause)
		if err == nil {
			k := streamKey{in.Record.Tenant, in.Record.Stream}
			if p := s.pos[k]; p.blocked == 0 {
				p.blocked = in.Record.StreamVersion
				s.pos[k] = p
			}
			s.rt.metrics.parked.Inc()
			return nil
		}
		s.forget()
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// finish answers who waits for a command and takes it out of the batch.
func (in *Input) finish(v any, err error) {
	in.closed = true
	if in.done != nil {
		in.done <- result{v, err}
		in.done = nil
	}
}

// attempt handles the inputs in a fresh Unit and commits it. With a parkCause the records are parked
// instead of handled.
func (s *shard) attempt(ctx context.Context, inputs []*Input, parkCause error) (err error) {
	gen := s.gen.Load()
	if gen != s.seenGen {
		s.forget()
		s.seenGen = gen
	}
	todo, moves, err := s.sequence(ctx, inputs)
	if err != nil {
		return err
	}
	return s.perform(ctx, newUnit(s.rt, s.id, gen), todo, moves, parkCause)
}

// perform handles sequenced inputs in a Unit and commits it.
func (s *shard) perform(ctx context.Context, u *Unit, todo []*Input, moves []advance, parkCause error) (err error) {
	defer func() {
		if err != nil {
			for _, f := range u.rollback {
				f()
			}
		}
	}()
	spans := s.rt.startSpans()
	defer spans.end()
	for _, in := range todo {
		if err := s.one(ctx, u, in, parkCause, spans); err != nil {
			return err
		}
	}
	effect := u.changes > 0
	if effect {
		if err := s.commit(ctx, u, moves); err != nil {
			return err
		}
	}
	s.advanced(moves, effect)
	for _, f := range u.commit {
		f()
	}
	s.later = append(s.later, u.later...)
	for _, p := range u.posts {
		s.rt.Post(p.tenant, p.subject, p.cmd)
	}
	return nil
}

// one handles one input within the batch.
func (s *shard) one(ctx context.Context, u *Unit, in *Input, parkCause error, spans *spanList) error {
	if in.closed {
		return nil
	}
	if in.Record != nil {
		if parkCause == nil && !in.retried {
			key := streamKey{in.Record.Tenant, in.Record.Stream}
			if b := s.pos[key].blocked; b != 0 && in.Record.StreamVersion > b {
				u.Exec(parkBehindSQL, in.Record.Tenant, in.Record.Stream, in.Record.StreamVersion, in.Record.Kind, reasonBehind)
				return nil
			}
		}
		if parkCause != nil {
			u.Exec(parkSQL, in.Record.Tenant, in.Record.Stream, in.Record.StreamVersion, in.Record.Kind, parkCause.Error())
			return nil
		}
		if in.Event == nil && !s.rt.def.Raw {
			e, err := s.rt.Decode(*in.Record)
			if erased(err) || (err != nil && s.rt.unused(in.Record.Kind, err)) {
				return nil
			}
			if err != nil {
				return fault.Wrap(fault.Invalid, "service.decode", "cannot read the event", err)
			}
			in.Event = e
		}
	}
	ctx = spans.start(ctx, in)
	u.cur = in
	before := u.changes
	err := s.rt.def.Handle(ctx, u, in)
	if err == nil {
		return nil
	}
	if in.Record == nil && u.changes == before && (in.done != nil || !fault.Is(err, fault.Unavailable)) {
		if ctx.Err() != nil { // it was not refused: its reads were cut
			err = stopping(err)
		}
		if in.done == nil {
			s.rt.log.WarnContext(ctx, "command refused", "subject", in.Subject, "error", err)
		}
		in.finish(nil, err) // refused without a trace: only the caller sees it
		return nil
	}
	return err
}

// commit sends everything in one round trip: one implicit transaction.
func (s *shard) commit(ctx context.Context, u *Unit, moves []advance) error {
	if err := u.seal(ctx); err != nil {
		return err
	}
	p := &pgx.Batch{}
	u.queue(p, moves)
	if p.Len() == 0 {
		return nil
	}
	start := time.Now()
	// A stop must not cut a commit in two: it is bounded by its own limit instead.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitLimit)
	defer cancel()
	err := s.rt.deps.DB.SendBatch(ctx, p).Close()
	if err != nil {
		if fault.Is(err, fault.Canceled) {
			return fault.Wrap(fault.Unavailable, "service.commit", "the commit took too long", err)
		}
		return eventstore.Classify("service.commit", err)
	}
	n := 0
	for _, a := range u.staged {
		n += len(a.Records)
		for i := range a.Records {
			s.rt.metrics.appended.WithLabelValues(a.Records[i].Kind).Inc()
		}
	}
	for _, t := range u.took {
		s.rt.metrics.calls.Observe(t.Seconds())
	}
	s.rt.metrics.commit.Observe(time.Since(start).Seconds())
	s.rt.metrics.batch.Observe(float64(len(moves)))
	if n > 0 {
		s.rt.relay.wake(s.id)
		s.rt.notify.committed(s.id)
	}
	return nil
}
