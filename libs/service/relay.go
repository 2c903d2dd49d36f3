package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
)

// relay publishes the outbox of the service's family, in order within each shard. A shard has one relay
// at a time: the one whose session holds the shard's advisory lock. It follows the consumer group's
// assignment, so that the replica that commits is the one that publishes. A zombie does no harm:
// consumers drop what they have by stream version.
type relay struct {
	rt    *Runtime
	woken chan struct{}
	held  map[int]bool
	holdN []flag    // held, for other goroutines
	sent  []sentRow // acknowledged by the broker, not yet deleted
	// stopping is closed when the service is told to stop: from then on the shards that are held stay held,
	// although the group takes them away, so that what is committed last is still published here.
	stopping <-chan struct{}
}

type sentRow struct {
	pos   int64
	shard int32
}

const (
	relayBatch = 500
	relayPoll  = 250 * time.Millisecond // finds what a lost wake or another replica left
	// relayIdle is how long Postgres keeps a session, and with it the shards' locks, that sends nothing: a
	// replica that is frozen must not keep its shards from the next one.
	relayIdle  = "5s"
	relayAlive = time.Second // between two signs of life of one that waits for the broker
)

func newRelay(rt *Runtime) *relay {
	return &relay{rt: rt, woken: make(chan struct{}, 1), held: map[int]bool{}, holdN: make([]flag, rt.deps.Partitions)}
}

// holds reports whether this relay publishes the shard. Safe for concurrent use.
func (l *relay) holds(shard int) bool {
	return shard >= 0 && shard < len(l.holdN) && l.holdN[shard].Load()
}

// wake says that a shard has something to publish, or that the assignment has changed.
func (l *relay) wake(int) {
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// flush waits until the held shards have nothing left to publish, for at most limit.
func (l *relay) flush(ctx context.Context, limit time.Duration) {
	deadline := time.Now().Add(limit)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var shards []int
	for id := range l.holdN {
		if l.holds(id) {
			shards = append(shards, id)
		}
	}
	for time.Now().Before(deadline) {
		var n int
		err := l.rt.deps.DB.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM eventstore.outbox
			WHERE family = $1 AND shard = ANY($2) LIMIT 1) AS x`, string(l.rt.def.Family), shards).Scan(&n)
		if err != nil || n == 0 {
			return
		}
		l.wake(-1)
		time.Sleep(10 * time.Millisecond)
	}
}

// run publishes until ctx ends. It holds one connection of its own: the locks live in its session.
func (l *relay) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := l.session(ctx); err != nil && ctx.Err() == nil {
			l.rt.log.WarnContext(ctx, "relay lost its session, taking a new one", "error", err)
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

func (l *relay) session(ctx context.Context) error {
	conn, err := l.rt.deps.DB.Acquire(ctx)
	if err != nil {
		return err
	}
	// The connection is closed, not given back: whatever locks it holds go with it.
	defer func() {
		c := conn.Hijack()
		_ = c.Close(context.WithoutCancel(ctx))
	}()
	// Losing these deletes in a crash only makes duplicates, which consumers drop.
	if _, err := conn.Exec(ctx, "SET synchronous_commit = off; SET idle_session_timeout = '"+relayIdle+"'"); err != nil {
		return err
	}
	l.dropped()
	defer l.dropped()
	timer := time.NewTimer(relayPoll)
	defer timer.Stop()
	for {
		if err := l.follow(ctx, conn); err != nil {
			return err
		}
		more, err := l.step(ctx, conn)
		if err != nil {
			return err
		}
		if more {
			continue
		}
		timer.Reset(relayPoll)
		select {
		case <-l.woken:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// follow takes the locks of shards now owned and gives back those of shards lost.
func (l *relay) follow(ctx context.Context, conn *pgxpool.Conn) error {
	select {
	case <-l.stopping:
		return nil
	default:
	}
	owned := l.rt.Owned()
	for id := range l.held {
		if !slices.Contains(owned, id) {
			if _, err := conn.Exec(ctx, "SELECT pg_advisory_unlock($1, $2)", l.lockKey(), id); err != nil {
				return err
			}
			delete(l.held, id)
			l.holdN[id].Store(false)
		}
	}
	for _, id := range owned {
		if l.held[id] {
			continue
		}
		var ok bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", l.lockKey(), id).Scan(&ok); err != nil {
			return err
		}
		if ok {
			l.held[id] = true
			l.holdN[id].Store(true)
		}
	}
	return nil
}

// dropped notes that no lock is held.
func (l *relay) dropped() {
	clear(l.held)
	for i := range l.holdN {
		l.holdN[i].Store(false)
	}
}

func (l *relay) lockKey() int32 { return advisoryKey("relay/" + string(l.rt.def.Family)) }

// The join is written so that there is one way to run it: the oldest rows first, then each event by its
// position. Left to choose, Postgres merges with the whole table of events once it grows.
const outboxSQL = `SELECT o.shard, e.pos, e.tenant, e.stream, e.version, e.event_id::text, e.kind,
	e.schema_version, e.time, e.correlation, e.causation, e.traceparent, e.data
	FROM (SELECT shard, pos FROM eventstore.outbox
		WHERE family = $1 AND shard = ANY($2) AND NOT pos = ANY($3) ORDER BY pos LIMIT $4) AS o
	CROSS JOIN LATERAL (SELECT * FROM eventstore.events AS x WHERE x.pos = o.pos OFFSET 0) AS e ORDER BY o.pos`

// step publishes one batch: the rows of the batch before are deleted in the same round trip that reads
// the next ones, and a batch is read only after the one before was acknowledged.
func (l *relay) step(ctx context.Context, conn *pgxpool.Conn) (more bool, err error) {
	if len(l.held) == 0 {
		return false, conn.Ping(ctx) // the session must not fall idle
	}
	shards := make([]int32, 0, len(l.held))
	for id := range l.held {
		shards = append(shards, int32(id)) //nolint:gosec // a partition number
	}
	gone, goneShards := make([]int64, 0, len(l.sent)), make([]int32, 0, len(l.sent))
	for _, s := range l.sent {
		gone, goneShards = append(gone, s.pos), append(goneShards, s.shard)
	}
	p := &pgx.Batch{}
	if len(gone) > 0 {
		p.Queue("SELECT eventstore.published($1, $2)", gone, goneShards)
	}
	p.Queue(outboxSQL, string(l.rt.def.Family), shards, gone, relayBatch)
	rows, err := l.read(ctx, conn, p, len(gone) > 0)
	if err != nil {
		return false, err
	}
	l.sent = l.sent[:0]
	if len(rows) == 0 {
		return false, nil
	}
	msgs := make([]*message.Message, len(rows))
	for i, r := range rows {
		msgs[i] = ToMessage(r.record)
	}
	if err := l.publish(ctx, conn, msgs); err != nil {
		return false, err
	}
	for _, r := range rows {
		l.sent = append(l.sent, sentRow{r.record.Position, r.shard})
	}
	l.rt.metrics.published.Add(float64(len(rows)))
	return true, nil
}

// publish sends a batch and gives the session signs of life meanwhile: one that waits for the broker keeps
// its locks, or each outage would cost it its session. A frozen process gives none.
func (l *relay) publish(ctx context.Context, conn *pgxpool.Conn, msgs []*message.Message) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- l.rt.pub.PublishContext(ctx, l.rt.def.Family.Topic(), msgs...) }()
	alive := time.NewTicker(relayAlive)
	defer alive.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-alive.C:
			if err := conn.Ping(ctx); err != nil {
				cancel()
				return errors.Join(err, <-done)
			}
		}
	}
}

type outboxRow struct {
	shard  int32
	record events.Record
}

func (l *relay) read(ctx context.Context, conn *pgxpool.Conn, p *pgx.Batch, deletes bool) (out []outboxRow, err error) {
	res := conn.SendBatch(ctx, p)
	defer func() { err = errors.Join(err, res.Close()) }()
	if deletes {
		if _, err := res.Exec(); err != nil {
			return nil, err
		}
	}
	rows, err := res.Query()
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (outboxRow, error) {
		var o outboxRow
		r := &o.record
		err := row.Scan(&o.shard, &r.Position, &r.Tenant, &r.Stream, &r.StreamVersion, &r.ID, &r.Kind,
			&r.SchemaVersion, &r.Time, &r.Correlation, &r.Causation, &r.TraceParent, &r.Data)
		r.Time = r.Time.UTC()
		return o, err
	})
}
