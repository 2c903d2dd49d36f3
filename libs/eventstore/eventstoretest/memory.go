package eventstoretest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Memory is a [Store] without a database, for tests that need streams but no service: it keeps what the
// event store promises and nothing else (no outbox, no roles). The zero Memory is empty and ready; it is
// safe for concurrent use.
type Memory struct {
	mu      sync.Mutex
	log     []events.Record     // by position
	streams map[streamKey][]int // indexes into log, by version
}

type streamKey struct{ tenant, stream string }

// Append implements [Store].
func (m *Memory) Append(_ context.Context, appends ...eventstore.Append) error {
	const op = "eventstoretest.append"
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range appends {
		at := int64(len(m.streams[streamKey{a.Tenant, a.Stream}]))
		if a.Expected != eventstore.AnyVersion && a.Expected != at {
			return fault.Newf(fault.Conflict, op, "%s is at version %d, not %d", a.Stream, at, a.Expected)
		}
		for _, r := range a.Records {
			if _, err := uuid.Parse(r.ID); err != nil {
				return fault.Wrap(fault.Internal, op, "an event's id is no UUID", err)
			}
		}
	}
	if m.streams == nil {
		m.streams = map[streamKey][]int{}
	}
	for _, a := range appends {
		key := streamKey{a.Tenant, a.Stream}
		for _, r := range a.Records {
			r.Tenant, r.Stream = a.Tenant, a.Stream
			r.Position, r.StreamVersion = int64(len(m.log)+1), int64(len(m.streams[key])+1)
			r.Time, r.Data = r.Time.UTC().Truncate(time.Microsecond), slices.Clone(r.Data)
			m.streams[key] = append(m.streams[key], len(m.log))
			m.log = append(m.log, r)
		}
	}
	return nil
}

// ReadStream implements [Store].
func (m *Memory) ReadStream(_ context.Context, tenant, stream string, after int64, limit int) ([]events.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []events.Record
	for _, i := range m.streams[streamKey{tenant, stream}] {
		if m.log[i].StreamVersion > after && (limit == 0 || len(out) < limit) {
			out = append(out, m.log[i])
		}
	}
	return out, nil
}

// ReadSubject implements [Store].
func (m *Memory) ReadSubject(_ context.Context, tenant string, streams []string, after, upTo int64, limit int) ([]events.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []events.Record
	for _, stream := range streams {
		for _, i := range m.streams[streamKey{tenant, stream}] {
			if p := m.log[i].Position; p > after && p <= upTo {
				out = append(out, m.log[i])
			}
		}
	}
	slices.SortFunc(out, func(a, b events.Record) int { return cmp.Compare(a.Position, b.Position) })
	return out[:min(limit, len(out))], nil
}

// ReadAll implements [Store].
func (m *Memory) ReadAll(_ context.Context, after, upTo int64, limit int) ([]events.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, to := min(after, int64(len(m.log))), min(upTo, int64(len(m.log)))
	to = max(from, min(to, from+int64(limit)))
	return slices.Clone(m.log[from:to]), nil
}
