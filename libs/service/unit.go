package service

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
)

// Unit is the unit of work of one batch. What is queued here goes to Postgres in one round trip and
// commits or fails as a whole.
type Unit struct {
	rt    *Runtime
	shard int
	gen   int64 // assignment the cached folds belong to; 0 when another replica owns the shard
	now   time.Time

	cur      *Input // the input being handled: cause of what is appended
	staged   map[streamKey]*eventstore.Append
	stmts    []statement
	once     map[string]int
	commit   []func()
	rollback []func()
	posts    []post
	later    []func()    // after the answers
	last     []statement // after everything else
	changes  int
	took     []time.Duration // of the calls that end here

	tx eventstore.Querier // of a rebuild; nil otherwise
}

type streamKey struct{ tenant, stream string }

type statement struct {
	sql  string
	args []any
}

type post struct {
	tenant, subject string
	cmd             any
}

func newUnit(rt *Runtime, shard int, gen int64) *Unit {
	return &Unit{
		rt: rt, shard: shard, gen: gen, now: rt.deps.Now().UTC().Truncate(time.Microsecond),
		staged: map[streamKey]*eventstore.Append{}, once: map[string]int{},
	}
}

// Now is the time of this batch: facts staged in it carry it.
func (u *Unit) Now() time.Time {
	if u.tx != nil && u.cur != nil && u.cur.Record != nil {
		return u.cur.Record.Time // what is made again has the time it was made first
	}
	return u.now
}

// Rebuilding reports whether read models are being made again: what is appended or posted then is left
// out, for it is in the event store already, and no effect may start.
func (u *Unit) Rebuilding() bool { return u.tx != nil }

// Owned reports whether this replica owns the shard of the batch.
func (u *Unit) Owned() bool { return u.gen != 0 }

// DB reads outside the transaction. What is decided on it must be protected by a stream version.
func (u *Unit) DB() eventstore.Querier {
	if u.tx != nil {
		return u.tx
	}
	return u.rt.deps.DB
}

// Exec queues a statement on the service's own tables.
func (u *Unit) Exec(sql string, args ...any) {
	u.changes++
	u.stmts = append(u.stmts, statement{sql, args})
}

// Once is Exec for a statement of which only the last in a batch counts: the row of a process that
// several inputs touch is written once.
func (u *Unit) Once(key, sql string, args ...any) {
	u.changes++
	if i, ok := u.once[key]; ok {
		u.stmts[i] = statement{sql, args}
		return
	}
	u.once[key] = len(u.stmts)
	u.stmts = append(u.stmts, statement{sql, args})
}

// AfterCommit runs f once the batch is durable, before anybody is answered.
func (u *Unit) AfterCommit(f func()) { u.commit = append(u.commit, f) }

// OnRollback runs f when the batch did not commit. The inputs are handled again in a new Unit.
func (u *Unit) OnRollback(f func()) { u.rollback = append(u.rollback, f) }

// Post sends a command to a subject after the commit; nobody waits for it.
func (u *Unit) Post(tenant, subject string, cmd any) {
	u.posts = append(u.posts, post{tenant, subject, cmd})
}

// TraceParent is the trace context of the input being handled.
func (u *Unit) TraceParent() string { return u.cur.trace }

// append stages events on a stream that is at version.
func (u *Unit) append(tenant, stream string, version int64, evs []events.Event) error {
	if u.Rebuilding() {
		return nil
	}
	key := streamKey{tenant, stream}
	a := u.staged[key]
	if a == nil {
		a = &eventstore.Append{Tenant: tenant, Stream: stream, Expected: version, Shard: u.rt.Shard(events.SubjectOf(stream))}
		u.staged[key] = a
	}
	for _, e := range evs {
		data, err := events.Encode(e)
		if err != nil {
			return err
		}
		r := events.Record{
			ID: u.rt.deps.NewID(), Kind: e.Kind(), SchemaVersion: e.SchemaVersion(), Time: u.now,
			TraceParent: u.cur.trace, Data: data,
		}
		if rec := u.cur.Record; rec != nil {
			r.Causation, r.Correlation = rec.ID, rec.Correlation
		}
		if r.Correlation == "" {
			r.Correlation = events.SubjectOf(stream)
		}
		a.Records = append(a.Records, r)
		if t, ok := e.(events.Timed); ok {
			u.took = append(u.took, t.Took())
		}
	}
	u.changes += len(evs)
	return nil
}

// seal turns the bodies of what is staged into ciphertext, if the store is sealed.
func (u *Unit) seal(ctx context.Context) error {
	keys := u.rt.deps.Keys
	if keys == nil {
		return nil
	}
	for _, a := range u.staged {
		for i := range a.Records {
			if err := keys.Seal(ctx, a.Tenant, a.Stream, &a.Records[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// queue puts everything staged into one pipeline.
func (u *Unit) queue(p *pgx.Batch, positions []advance) {
	if len(positions) > 0 {
		queuePositions(p, positions)
	}
	if len(u.staged) > 0 {
		var b eventstore.Batch
		for _, a := range u.staged {
			b.Add(*a)
		}
		b.Queue(p)
	}
	for _, s := range u.stmts {
		p.Queue(s.sql, s.args...)
	}
	for _, s := range u.last {
		p.Queue(s.sql, s.args...)
	}
}

// Streams gives cached folds of the service's own streams.
type Streams[S any] struct {
	fold  Fold[S]
	cache *lru[streamKey, *Stream[S]]
}

// Stream is the fold of one stream within a batch.
type Stream[S any] struct {
	State   S
	Version int64

	evolve func(S, events.Event) S
	unit   *Unit
	key    streamKey
	gen    int64
	saved  int64 // version of the last snapshot; 0 when there is none
	size   int   // of it, in bytes
}

// streamsCached bounds the folds kept in memory per service; the rest is folded again when needed.
const streamsCached = 4096

// NewStreams folds streams of a family with a pure function, without snapshots; see Fold.
func NewStreams[S any](family events.Family, evolve func(S, events.Event) S) *Streams[S] {
	return Fold[S]{Family: family, Evolve: evolve}.Streams()
}

// Load is the stream about a subject as it is after everything staged so far in this batch.
func (s *Streams[S]) Load(ctx context.Context, u *Unit, tenant, subject string) (*Stream[S], error) {
	return s.LoadAt(ctx, u, tenant, subject, 0)
}

// LoadAt is Load for who knows that the stream has reached a version: a cached fold behind it has missed
// what another replica appended, and is folded again. Only a decision to append is checked against the
// database; one to do nothing would rest on the old fold for good.
func (s *Streams[S]) LoadAt(ctx context.Context, u *Unit, tenant, subject string, least int64) (*Stream[S], error) {
	key := streamKey{tenant, s.fold.Family.Stream(subject)}
	if st, ok := s.cache.get(key); ok && (st.unit == u || (st.unit == nil && u.gen != 0 && st.gen == u.gen && st.Version >= least)) {
		s.bind(u, st)
		return st, nil
	}
	load := s.fold.Load
	if u.Rebuilding() {
		load = s.fold.FromStart
	}
	l, err := load(ctx, u.DB(), u.rt.Decode, tenant, subject)
	if err != nil {
		return nil, err
	}
	if l.Ignored != nil {
		u.rt.metrics.snapshots.WithLabelValues(snapshotIgnored).Inc()
		u.rt.log.InfoContext(ctx, "snapshot not used", "stream", key.stream, "reason", l.Ignored)
	} else if l.Snapshot > 0 {
		u.rt.metrics.snapshots.WithLabelValues(snapshotUsed).Inc()
	}
	st := &Stream[S]{
		State: l.State, Version: l.Version, evolve: s.fold.Evolve, key: key, gen: u.gen, saved: l.Snapshot, size: l.Size,
	}
	s.bind(u, st)
	s.cache.put(key, st)
	return st, nil
}

// bind ties the fold to the batch: kept when the batch commits, dropped when it does not.
func (s *Streams[S]) bind(u *Unit, st *Stream[S]) {
	if st.unit == u {
		return
	}
	st.unit = u
	u.AfterCommit(func() { st.unit = nil })
	rt := u.rt
	u.later = append(u.later, func() { s.snapshot(rt, st) })
	u.OnRollback(func() { s.cache.drop(st.key) })
}

// Append stages events and folds them into State. A failure to encode ends the batch.
func (st *Stream[S]) Append(evs ...events.Event) {
	if len(evs) == 0 {
		return
	}
	if err := st.unit.append(st.key.tenant, st.key.stream, st.Version, evs); err != nil {
		st.unit.rt.log.Error("cannot encode an event", "error", err)
		st.unit.Exec("SELECT eventstore.must(false, 'an event could not be encoded')")
		return
	}
	for _, e := range evs {
		st.State = st.evolve(st.State, e)
	}
	st.Version += int64(len(evs))
}
