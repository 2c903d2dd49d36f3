// Package eventstore keeps every fact in Postgres: streams with versions, one position over all of
// them, and an outbox of what Kafka does not have yet.
//
// Writers stage events in a [Batch] and send it as part of one pipelined transaction. Readers either
// fold one stream or follow all of them up to the [Watermark], below which nothing can appear any more.
package eventstore

import (
	"errors"
	"sort"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// AnyVersion as an expected version skips the check; the stream's row lock decides.
const AnyVersion = -1

// SQL states of our own; see schema.sql.
const (
	stateConflict = "AO001" // a stream was not at its expected version
	stateMust     = "AO002" // eventstore.must: a position had moved
)

// Append is the events for one stream, staged at the version it must have.
type Append struct {
	Tenant   string
	Stream   string
	Expected int64 // n: exactly n; 0: must not exist; AnyVersion
	Shard    int   // partition of the stream's subject
	Records  []events.Record
}

// Batch collects appends of one transaction. Only ID, Kind, SchemaVersion, Time, Correlation,
// Causation, TraceParent and Data of a record are used; position and version are the store's to give.
type Batch struct{ appends []Append }

// Add stages an append. A stream may be added once per batch.
func (b *Batch) Add(a Append) { b.appends = append(b.appends, a) }

// Len is the number of events staged.
func (b *Batch) Len() int {
	n := 0
	for _, a := range b.appends {
		n += len(a.Records)
	}
	return n
}

const (
	appendSQL    = `SELECT eventstore.append($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15)`
	appendOneSQL = `SELECT eventstore.append_one($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)`
)

// Queue adds the append to a pipelined transaction. Streams are sorted, so that two batches lock them
// in the same order.
func (b *Batch) Queue(p *pgx.Batch) *pgx.QueuedQuery {
	if len(b.appends) == 1 && len(b.appends[0].Records) == 1 {
		a, r := b.appends[0], b.appends[0].Records[0]
		return p.Queue(appendOneSQL, a.Tenant, a.Stream, a.Expected, a.Shard, r.ID, r.Kind, r.SchemaVersion,
			r.Time, r.Correlation, r.Causation, r.TraceParent, r.Data)
	}
	sort.Slice(b.appends, func(i, j int) bool {
		if b.appends[i].Tenant != b.appends[j].Tenant {
			return b.appends[i].Tenant < b.appends[j].Tenant
		}
		return b.appends[i].Stream < b.appends[j].Stream
	})
	s, n := len(b.appends), b.Len()
	tenant, stream, expected := make([]string, s), make([]string, s), make([]int64, s)
	shard, count := make([]int32, s), make([]int32, s)
	e := newColumns(n)
	for i, a := range b.appends {
		tenant[i], stream[i], expected[i] = a.Tenant, a.Stream, a.Expected
		shard[i], count[i] = int32(a.Shard), int32(len(a.Records)) //nolint:gosec // both are far below 2^31
		for j, r := range a.Records {
			e.add(i+1, j+1, r)
		}
	}
	return p.Queue(appendSQL, tenant, stream, expected, shard, count, e.streamNo, e.offset, e.id, e.kind,
		e.schema, e.time, e.correlation, e.causation, e.traceparent, e.data)
}

type columns struct {
	streamNo, offset, schema                      []int32
	id, kind, correlation, causation, traceparent []string
	time                                          []time.Time
	data                                          [][]byte
}

func newColumns(n int) *columns {
	return &columns{
		streamNo: make([]int32, 0, n), offset: make([]int32, 0, n), schema: make([]int32, 0, n),
		id: make([]string, 0, n), kind: make([]string, 0, n), correlation: make([]string, 0, n),
		causation: make([]string, 0, n), traceparent: make([]string, 0, n),
		time: make([]time.Time, 0, n), data: make([][]byte, 0, n),
	}
}

func (c *columns) add(streamNo, offset int, r events.Record) {
	c.streamNo = append(c.streamNo, int32(streamNo))    //nolint:gosec // bounded by the batch size
	c.offset = append(c.offset, int32(offset))          //nolint:gosec // bounded by the batch size
	c.schema = append(c.schema, int32(r.SchemaVersion)) //nolint:gosec // counts from 1 by hand
	c.id = append(c.id, r.ID)
	c.kind = append(c.kind, r.Kind)
	c.time = append(c.time, r.Time)
	c.correlation = append(c.correlation, r.Correlation)
	c.causation = append(c.causation, r.Causation)
	c.traceparent = append(c.traceparent, r.TraceParent)
	c.data = append(c.data, r.Data)
}

// Classify turns an error of a commit into a fault: Conflict when a version or position had moved (the
// caller reloads and decides again), Unavailable when the same commit may succeed later, else Internal.
func Classify(op string, err error) error {
	if err == nil {
		return nil
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case pg.Code == stateConflict, pg.Code == stateMust:
			return fault.Wrap(fault.Conflict, op, "the state has moved on", err)
		case pg.Code == "40001", pg.Code == "40P01", pg.Code == "23505": // serialization failure, deadlock, unique violation
			return fault.Wrap(fault.Conflict, op, "transactions met", err)
		case pg.Code[:2] == "08", pg.Code[:2] == "53", pg.Code[:2] == "57", pg.Code == "55P03":
			return fault.Wrap(fault.Unavailable, op, "Postgres is away", err)
		}
		return fault.Wrap(fault.Internal, op, "Postgres refused the statement", err)
	}
	if fault.KindOf(err) == fault.Canceled {
		return fault.Wrap(fault.Canceled, op, "given up", err)
	}
	return fault.Wrap(fault.Unavailable, op, "Postgres is away", err)
}
