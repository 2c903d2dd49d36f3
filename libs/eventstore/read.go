package eventstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
)

// Querier reads: a pool, a connection or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

const selectRecord = `SELECT pos, tenant, stream, version, event_id::text, kind, schema_version, time,
	correlation, causation, traceparent, data FROM eventstore.events `

func scanRecord(row pgx.CollectableRow) (events.Record, error) {
	var r events.Record
	var at time.Time
	err := row.Scan(&r.Position, &r.Tenant, &r.Stream, &r.StreamVersion, &r.ID, &r.Kind, &r.SchemaVersion,
		&at, &r.Correlation, &r.Causation, &r.TraceParent, &r.Data)
	r.Time = at.UTC()
	return r, err
}

func collect(ctx context.Context, q Querier, op, sql string, args ...any) ([]events.Record, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, Classify(op, err)
	}
	recs, err := pgx.CollectRows(rows, scanRecord)
	if err != nil {
		return nil, Classify(op, err)
	}
	return recs, nil
}

// Collect runs a query of one's own whose columns are those of a record, in the order of events.Record's
// fields: position, tenant, stream, version, id, kind, schema version, time, correlation, causation,
// traceparent, data.
func Collect(ctx context.Context, q Querier, op, sql string, args ...any) ([]events.Record, error) {
	return collect(ctx, q, op, sql, args...)
}

// ReadStream is the records of one stream with version > after, in order; limit 0 reads all.
func ReadStream(ctx context.Context, q Querier, tenant, stream string, after int64, limit int) ([]events.Record, error) {
	sql := selectRecord + `WHERE tenant = $1 AND stream = $2 AND version > $3 ORDER BY version`
	if limit > 0 {
		sql += fmt.Sprintf(" LIMIT %d", limit)
	}
	return collect(ctx, q, "eventstore.read_stream", sql, tenant, stream, after)
}

// Last is the newest record of a stream of the given kind, or nil.
func Last(ctx context.Context, q Querier, tenant, stream, kind string) (*events.Record, error) {
	recs, err := collect(ctx, q, "eventstore.last", selectRecord+
		`WHERE tenant = $1 AND stream = $2 AND kind = $3 ORDER BY version DESC LIMIT 1`, tenant, stream, kind)
	if err != nil || len(recs) == 0 {
		return nil, err
	}
	return &recs[0], nil
}

// ReadSubject is the records of several streams of one tenant with after < position <= upTo, by
// position, at most limit.
//
// It is written so that there is one way to run it: by stream and version. By position, which Postgres may
// choose as well, it would read what all other processes did since. Inside a stream positions grow with
// versions, so the first records of each stream are enough to find the first of all.
func ReadSubject(ctx context.Context, q Querier, tenant string, streams []string, after, upTo int64, limit int) ([]events.Record, error) {
	return collect(ctx, q, "eventstore.read_subject", `SELECT e.pos, e.tenant, e.stream, e.version, e.event_id::text, e.kind,
		e.schema_version, e.time, e.correlation, e.causation, e.traceparent, e.data
		FROM (SELECT u.stream, eventstore.version_at($1, u.stream, $3) AS had FROM unnest($2::text[]) AS u (stream) OFFSET 0) AS s
		CROSS JOIN LATERAL (SELECT * FROM eventstore.events AS x
			WHERE x.tenant = $1 AND x.stream = s.stream AND x.version > s.had
			ORDER BY x.version LIMIT $5 OFFSET 0) AS e
		WHERE e.pos <= $4 ORDER BY e.pos LIMIT $5`, tenant, streams, after, upTo, limit)
}

// ReadAll is the records of all streams with after < position <= upTo, by position, at most limit. To see
// every event exactly once upTo must come from a [Watermark].
func ReadAll(ctx context.Context, q Querier, after, upTo int64, limit int) ([]events.Record, error) {
	return collect(ctx, q, "eventstore.read_all", selectRecord+
		`WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT $3`, after, upTo, limit)
}

// Watermark finds the position below which no event can appear any more.
//
// Concurrent writers commit in another order than they draw positions, so the highest visible position
// is no safe cursor: what was drawn lower may commit later. Each sample takes (highest position, next
// transaction id). A writer has its transaction id before it draws a position; so once the current
// snapshot's xmin has reached a sample's id, every writer that could have drawn a lower position has
// ended, and the sample's position is safe. A reader must not be shared between goroutines.
//
// The snapshot's own xmax will not do for the id: it is one past the highest COMPLETED transaction, and
// a running one above it may have drawn a lower position. age() of an id tells the distance to the next
// id to be given, without using one up.
type Watermark struct {
	safe    int64
	samples []sample
	now     time.Time // of the last sample
}

type sample struct {
	pos  int64
	next uint64 // transaction id: every transaction that had one at the sample is below it
	at   time.Time
}

// maxSamples bounds the samples kept while a long transaction holds the watermark back; dropping one in
// the middle only makes the next step larger.
const maxSamples = 64

// Advance takes one sample and returns the safe position. It never goes back.
func (w *Watermark) Advance(ctx context.Context, q Querier) (int64, error) {
	var cur sample
	var xmin uint64
	var xmax, ahead int64
	err := q.QueryRow(ctx, `SELECT coalesce((SELECT max(pos) FROM eventstore.events), 0), xmax,
		age((xmax & 4294967295)::text::xid), xmin
		FROM (SELECT pg_snapshot_xmax(s)::text::bigint AS xmax, pg_snapshot_xmin(s)::text::bigint AS xmin
		      FROM (SELECT pg_current_snapshot() AS s) AS x) AS y`).Scan(&cur.pos, &xmax, &ahead, &xmin)
	cur.next = uint64(xmax + ahead) //nolint:gosec // both count transactions from 0
	if err != nil {
		return w.safe, Classify("eventstore.watermark", err)
	}
	w.now = time.Now()
	cur.at = w.now
	w.samples = append(w.samples, cur)
	keep := w.samples[:0]
	for _, s := range w.samples {
		if xmin >= s.next {
			w.safe = max(w.safe, s.pos)
		} else {
			keep = append(keep, s)
		}
	}
	w.samples = keep
	if len(w.samples) > maxSamples {
		w.samples = append(w.samples[:maxSamples/2], w.samples[len(w.samples)-1])
	}
	return w.safe, nil
}

// Age is how long the oldest sample that is not safe yet had been waiting at the last Advance: the time
// for which some open transaction has held this reader back. It is 0 when nothing does.
func (w *Watermark) Age() time.Duration {
	if len(w.samples) == 0 {
		return 0
	}
	return w.now.Sub(w.samples[0].at)
}

// Safe is the last safe position found.
func (w *Watermark) Safe() int64 { return w.safe }
