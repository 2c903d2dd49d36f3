package service

import (
	"context"
	"embed"
	"io/fs"
	"sort"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the tables the harness keeps in every service's schema, to be applied before the
// service's own.
func Migrations() (fs.FS, error) { return fs.Sub(migrations, "migrations") }

// position is how far the consumer has come in one stream. What has no effect only moves at: it is
// stored with the next commit that touches the stream, or by the flush a second later, so that facts a
// service does not use cost no transaction. A crash in between hands them out again.
//
// blocked is the lowest version of the stream that is parked, 0 when none is: what comes after it waits
// behind it. It is read together with the position, and parking writes both in one transaction: who has
// not seen a parked event has not seen its position either, and his commit fails.
type position struct{ at, stored, blocked int64 }

// advance moves a consumer's stored position in one stream.
type advance struct {
	key      streamKey
	from, to int64
}

// positionsCached bounds the positions one shard keeps in memory; past it they are read again.
const positionsCached = 100_000

const positionsSQL = `WITH p AS (
	SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS p (tenant, stream, old, new)
), ins AS (
	INSERT INTO positions SELECT tenant, stream, new FROM p WHERE old = 0 ORDER BY tenant, stream
	ON CONFLICT DO NOTHING RETURNING 1
), upd AS (
	UPDATE positions AS q SET version = p.new FROM p
	WHERE q.tenant = p.tenant AND q.stream = p.stream AND q.version = p.old AND p.old > 0 RETURNING 1
)
SELECT eventstore.must((SELECT count(*) FROM ins) + (SELECT count(*) FROM upd) = $5, 'a position has moved')`

func queuePositions(p *pgx.Batch, moves []advance) {
	sort.Slice(moves, func(i, j int) bool {
		a, b := moves[i].key, moves[j].key
		return a.tenant < b.tenant || (a.tenant == b.tenant && a.stream < b.stream)
	})
	n := len(moves)
	tenant, stream, from, to := make([]string, n), make([]string, n), make([]int64, n), make([]int64, n)
	for i, m := range moves {
		tenant[i], stream[i], from[i], to[i] = m.key.tenant, m.key.stream, m.from, m.to
	}
	p.Queue(positionsSQL, tenant, stream, from, to, n)
}

// loadPositions puts the stored positions of the given streams into s.pos; streams never read are 0.
func (s *shard) loadPositions(ctx context.Context, keys []streamKey) error {
	if len(keys) == 0 {
		return nil
	}
	tenant, stream := make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		tenant[i], stream[i] = k.tenant, k.stream
		s.pos[k] = position{}
	}
	rows, err := s.rt.deps.DB.Query(ctx, `SELECT p.tenant, p.stream, p.version, coalesce(
			(SELECT min(q.version) FROM parked q WHERE q.tenant = p.tenant AND q.stream = p.stream AND q.state <> 'dropped'), 0)
		FROM positions p JOIN unnest($1::text[], $2::text[]) AS k (tenant, stream) USING (tenant, stream)`, tenant, stream)
	if err != nil {
		return eventstore.Classify("service.positions", err)
	}
	defer rows.Close()
	for rows.Next() {
		var k streamKey
		var v, blocked int64
		if err := rows.Scan(&k.tenant, &k.stream, &v, &blocked); err != nil {
			return eventstore.Classify("service.positions", err)
		}
		s.pos[k] = position{v, v, blocked}
	}
	return eventstore.Classify("service.positions", rows.Err())
}

// advanced notes where the batch has brought the consumer; stored says whether the database knows.
func (s *shard) advanced(moves []advance, stored bool) {
	for _, m := range moves {
		if stored {
			s.pos[m.key] = position{m.to, m.to, s.pos[m.key].blocked}
			delete(s.dirty, m.key)
			continue
		}
		s.pos[m.key] = position{m.to, m.from, s.pos[m.key].blocked}
		s.dirty[m.key] = struct{}{}
	}
}

// forget drops what is known of positions: they are read again when needed. Those that had moved in
// memory only are behind now, and nobody sends their events again: the sweep is told.
func (s *shard) forget() {
	s.rt.doubts.add(s.dirty)
	clear(s.pos)
	clear(s.dirty)
}

// flushEvery is how long a position may stay behind what was handled without effect.
const flushEvery = time.Second

// flush stores positions that moved without a commit. When it fails the events are handled again.
func (s *shard) flush(ctx context.Context) {
	if len(s.dirty) == 0 {
		return
	}
	if s.gen.Load() != s.seenGen {
		s.forget()
		return
	}
	moves := make([]advance, 0, len(s.dirty))
	for k := range s.dirty {
		moves = append(moves, advance{k, s.pos[k].stored, s.pos[k].at})
	}
	if err := s.commit(ctx, newUnit(s.rt, s.id, s.seenGen), moves); err != nil {
		s.rt.log.DebugContext(ctx, "positions not stored", "shard", s.id, "error", err)
		s.forget()
		return
	}
	s.advanced(moves, true)
}

// sequencer puts the records of one batch into order.
type sequencer struct {
	s   *shard
	out []*Input
	at  map[streamKey]int64
}

// sequence is the records of a batch that are new, without holes: what Kafka delivered twice is
// dropped, and what it has not delivered, or what an input rests on, is read from the event store.
func (s *shard) sequence(ctx context.Context, inputs []*Input) ([]*Input, []advance, error) {
	if len(s.pos) > positionsCached {
		s.forget()
	}
	if err := s.prefetch(ctx, inputs); err != nil {
		return nil, nil, err
	}
	q := &sequencer{s: s, out: make([]*Input, 0, len(inputs)), at: map[streamKey]int64{}}
	for _, in := range inputs {
		if err := q.add(ctx, in); err != nil {
			return nil, nil, err
		}
	}
	return q.out, q.moves(), nil
}

// moves is how far the batch brings the consumer.
func (q *sequencer) moves() []advance {
	moves := make([]advance, 0, len(q.at))
	for k, v := range q.at {
		moves = append(moves, advance{k, q.s.pos[k].stored, v})
	}
	return moves
}

// prefetch loads the positions the batch needs in one query.
func (s *shard) prefetch(ctx context.Context, inputs []*Input) error {
	var unknown []streamKey
	for _, in := range inputs {
		if in.Record == nil {
			continue
		}
		k := streamKey{in.Record.Tenant, in.Record.Stream}
		if _, ok := s.pos[k]; ok {
			continue
		}
		if in.Record.StreamVersion == 1 && !s.doubt {
			s.pos[k] = position{} // most likely new; if not, the commit finds out and the position is read
			continue
		}
		unknown = append(unknown, k)
	}
	return s.loadPositions(ctx, unknown)
}

func (q *sequencer) last(ctx context.Context, k streamKey) (int64, error) {
	if v, ok := q.at[k]; ok {
		return v, nil
	}
	if _, ok := q.s.pos[k]; !ok {
		if err := q.s.loadPositions(ctx, []streamKey{k}); err != nil {
			return 0, err
		}
	}
	return q.s.pos[k].at, nil
}

func (q *sequencer) add(ctx context.Context, in *Input) error {
	if in.Record == nil {
		q.out = append(q.out, in)
		return nil
	}
	k := streamKey{in.Record.Tenant, in.Record.Stream}
	last, err := q.last(ctx, k)
	if err != nil {
		return err
	}
	v := in.Record.StreamVersion
	if v <= last {
		q.s.rt.metrics.duplicates.Inc()
		return nil
	}
	if v > last+1 {
		if err := q.fill(ctx, k, last, v-1); err != nil {
			return err
		}
	}
	if err := q.depend(ctx, in); err != nil {
		return err
	}
	q.out = append(q.out, in)
	q.at[k] = v
	return nil
}

// depend brings in what an input rests on.
func (q *sequencer) depend(ctx context.Context, in *Input) error {
	if q.s.rt.def.After == nil {
		return nil
	}
	if in.Event == nil && !q.s.rt.def.Raw {
		e, err := q.s.rt.Decode(*in.Record)
		if err != nil {
			return nil //nolint:nilerr // reported where the input is handled, so that it is parked
		}
		in.Event = e
	}
	for _, d := range q.s.rt.def.After(in) {
		k := streamKey{in.Tenant, d.Stream}
		last, err := q.last(ctx, k)
		if err != nil {
			return err
		}
		if last < d.Version {
			q.s.rt.metrics.overtaken.Inc()
			if err := q.fill(ctx, k, last, d.Version); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill reads the records after..upTo of a stream from the event store.
func (q *sequencer) fill(ctx context.Context, k streamKey, after, upTo int64) error {
	q.s.rt.metrics.gaps.Inc()
	recs, err := eventstore.ReadStream(ctx, q.s.rt.deps.DB, k.tenant, k.stream, after, int(upTo-after))
	if err != nil {
		return err
	}
	for i := range recs {
		q.out = append(q.out, q.s.rt.recordInput(&recs[i]))
		q.at[k] = recs[i].StreamVersion
	}
	return nil
}

func (r *Runtime) recordInput(rec *events.Record) *Input {
	return &Input{Record: rec, Tenant: rec.Tenant, Subject: rec.Subject(), trace: rec.TraceParent}
}
