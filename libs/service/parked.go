package service

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

const reasonBehind = "behind a parked event of the same stream"

const parkSQL = `INSERT INTO parked (tenant, stream, version, kind, reason) VALUES ($1,$2,$3,$4,$5) ON CONFLICT DO NOTHING`

// parkBehindSQL parks a record behind another one. If those before it are being given back, or were so
// since this replica has read that they are there, it is given back with them.
const parkBehindSQL = `INSERT INTO parked (tenant, stream, version, kind, reason, state)
	SELECT $1, $2, $3, $4, $5, CASE WHEN EXISTS (SELECT 1 FROM parked WHERE tenant = $1 AND stream = $2 AND state = 'parked')
		THEN 'parked' ELSE 'retry' END
	ON CONFLICT DO NOTHING`

// unparkedSQL removes a parked event in the transaction that handles it. The stream's position is
// locked first: who parks an event of the stream at the same time comes before or after, and sees it.
const (
	lockPositionSQL = `SELECT FROM positions WHERE tenant = $1 AND stream = $2 FOR UPDATE`
	droppedSQL      = `WITH d AS (UPDATE parked SET state = 'dropped' WHERE tenant = $1 AND stream = $2 AND version = $3
			AND state = 'drop' RETURNING 1)
		SELECT eventstore.must((SELECT count(*) FROM d) = 1, 'the parked event is gone')`
	unparkedSQL = `WITH d AS (DELETE FROM parked WHERE tenant = $1 AND stream = $2 AND version = $3 RETURNING 1)
		SELECT eventstore.must((SELECT count(*) FROM d) = 1, 'the parked event is gone')`
)

// The states of a parked event; see the migration.
const (
	stateParked = "parked"
	stateDrop   = "drop"
)

// unparkEvery is how often the harness looks for parked events that an operator wants handled again.
const unparkEvery = 2 * time.Second

// unparkLoop gives streams with such events to their shards.
func (r *Runtime) unparkLoop(ctx context.Context) error {
	tick := time.NewTicker(unparkEvery)
	defer tick.Stop()
	for {
		if err := r.unparkAsked(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "cannot look for parked events to handle again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (r *Runtime) unparkAsked(ctx context.Context) error {
	rows, err := r.deps.DB.Query(ctx, "SELECT DISTINCT tenant, stream FROM parked WHERE state IN ('retry', 'drop') LIMIT 1000")
	if err != nil {
		return eventstore.Classify("service.unpark", err)
	}
	keys, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k streamKey, err error) {
		return k, row.Scan(&k.tenant, &k.stream)
	})
	if err != nil {
		return eventstore.Classify("service.unpark", err)
	}
	for _, k := range keys {
		s := r.shards[r.Shard(events.SubjectOf(k.stream))]
		if s.gen.Load() == 0 {
			continue
		}
		select {
		case s.unparks <- k:
		case <-ctx.Done():
			return nil
		default: // the shard is behind: the next look finds them again
		}
	}
	return nil
}

type parkedEvent struct {
	version int64
	state   string
}

// unparkPage is how many parked events of a stream are read at once.
const unparkPage = 200

// unpark handles the parked events of a stream again, in order, until none is left or one fails. It
// runs in the shard's goroutine, so no later event of the stream can overtake them. Each is removed in
// the transaction that handles it; the position has passed them already.
func (s *shard) unpark(ctx context.Context, k streamKey) {
	for s.gen.Load() != 0 && ctx.Err() == nil {
		list, err := s.parkedOf(ctx, k)
		if err != nil {
			s.rt.log.WarnContext(ctx, "cannot read parked events", "stream", k.stream, "error", err)
			return
		}
		if len(list) == 0 || list[0].state == stateParked {
			s.forgetStream(k) // with the position is read whether something is parked
			return
		}
		for _, p := range list {
			if err := s.unparkOne(ctx, k, p); err != nil {
				s.rt.log.WarnContext(ctx, "a parked event stays parked", "stream", k.stream, "version", p.version, "error", err)
				s.forgetStream(k)
				return
			}
		}
	}
}

// forgetStream has a stream's position read again. One that is not stored yet is kept.
func (s *shard) forgetStream(k streamKey) {
	if _, dirty := s.dirty[k]; dirty {
		s.forget()
		return
	}
	delete(s.pos, k)
}

func (s *shard) parkedOf(ctx context.Context, k streamKey) ([]parkedEvent, error) {
	rows, err := s.rt.deps.DB.Query(ctx, `SELECT version, state FROM parked WHERE tenant = $1 AND stream = $2
		AND state <> 'dropped' ORDER BY version LIMIT $3`, k.tenant, k.stream, unparkPage)
	if err != nil {
		return nil, eventstore.Classify("service.unpark", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p parkedEvent, err error) {
		return p, row.Scan(&p.version, &p.state)
	})
	return list, eventstore.Classify("service.unpark", err)
}

// unparkOne handles or drops one parked event. What fails for good is parked again with the new reason,
// and with it everything behind it; what fails for now is left for the next look.
func (s *shard) unparkOne(ctx context.Context, k streamKey, p parkedEvent) error {
	var err error
	for try := 1; try <= parkAttempts; try++ {
		if err = s.unparkAttempt(ctx, k, p); err == nil {
			s.rt.metrics.unparked.Inc()
			return nil
		}
		s.forget()
		select {
		case <-time.After(time.Duration(try) * 10 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
	if fault.KindOf(err).Action() != fault.Park {
		return err
	}
	_, derr := s.rt.deps.DB.Exec(ctx, `UPDATE parked SET state = 'parked',
		reason = CASE WHEN version = $3 THEN $4 ELSE reason END, at = CASE WHEN version = $3 THEN now() ELSE at END
		WHERE tenant = $1 AND stream = $2 AND state <> 'dropped'`, k.tenant, k.stream, p.version, err.Error())
	if derr != nil {
		return eventstore.Classify("service.unpark", derr)
	}
	return err
}

func (s *shard) unparkAttempt(ctx context.Context, k streamKey, p parkedEvent) error {
	gen := s.gen.Load()
	if gen != s.seenGen {
		s.forget()
		s.seenGen = gen
	}
	s.doubt = true
	u := newUnit(s.rt, s.id, gen)
	var todo []*Input
	var moves []advance
	gone := droppedSQL
	if p.state != stateDrop {
		gone = unparkedSQL
		recs, err := eventstore.ReadStream(ctx, s.rt.deps.DB, k.tenant, k.stream, p.version-1, 1)
		if err != nil {
			return err
		}
		if len(recs) == 0 || recs[0].StreamVersion != p.version {
			return fault.New(fault.Internal, "service.unpark", "the event is not in the event store")
		}
		in := s.rt.recordInput(&recs[0])
		in.retried = true
		q := &sequencer{s: s, at: map[streamKey]int64{}}
		if err := q.depend(ctx, in); err != nil {
			return err
		}
		q.out = append(q.out, in)
		todo, moves = q.out, q.moves()
	}
	u.last = []statement{
		{lockPositionSQL, []any{k.tenant, k.stream}},
		{gone, []any{k.tenant, k.stream, p.version}},
	}
	u.changes += len(u.last)
	return s.perform(ctx, u, todo, moves, nil)
}
