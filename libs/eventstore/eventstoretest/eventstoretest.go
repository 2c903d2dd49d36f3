// Package eventstoretest is what an event store must keep, as one suite: [Run] holds it against Postgres
// and against [Memory], so that a test on Memory says something about the real store.
package eventstoretest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Store is an event store as a writer and a reader see it. The methods mean what the functions of the
// same name in package eventstore say; Append stages all in one [eventstore.Batch] and commits it.
type Store interface {
	Append(ctx context.Context, appends ...eventstore.Append) error
	ReadStream(ctx context.Context, tenant, stream string, after int64, limit int) ([]events.Record, error)
	ReadSubject(ctx context.Context, tenant string, streams []string, after, upTo int64, limit int) ([]events.Record, error)
	ReadAll(ctx context.Context, after, upTo int64, limit int) ([]events.Record, error)
}

// Everything is an upper bound above every position.
const Everything = 1 << 62

// On stages n events for a stream of the default tenant that is at version expected.
func On(stream string, expected int64, n int) eventstore.Append {
	a := eventstore.Append{Tenant: events.DefaultTenant, Stream: stream, Expected: expected}
	for i := range n {
		a.Records = append(a.Records, events.Record{
			ID: uuid.Must(uuid.NewV7()).String(), Kind: "agent.spawned", SchemaVersion: 1,
			Time: time.Now(), Correlation: "c", Data: fmt.Appendf(nil, `{"n":%d}`, i),
		})
	}
	return a
}

// Run holds the suite against a store; open gives an empty one whose writer owns the family agent.
func Run(t *testing.T, open func(t *testing.T) Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s Store)
	}{
		{"expected versions", expectedVersions},
		{"a batch is all or nothing", allOrNothing},
		{"a record comes back as it was written", roundTrip},
		{"ids are no key", idsAreNoKey},
		{"an id is a UUID", idIsUUID},
		{"tenants are apart", tenants},
		{"streams are read from a version on", readStream},
		{"subjects are read by position", readSubject},
		{"all is read by position", readAll},
		{"one of many writers wins", oneWins},
		{"positions agree with versions", positionsAgree},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, open(t))
		})
	}
}

func expectedVersions(t *testing.T, s Store) {
	for _, n := range []int64{1, 2} { // an append of one event may take another way than one of several
		a, b, c := fmt.Sprintf("agent/a%d", n), fmt.Sprintf("agent/b%d", n), fmt.Sprintf("agent/c%d", n)
		for _, step := range []struct {
			name     string
			stream   string
			expected int64
			conflict bool
		}{
			{"new must not exist", a, 0, false},
			{"exists already", a, 0, true},
			{"exact", a, n, false},
			{"stale", a, n, true},
			{"ahead", a, 9, true},
			{"any", a, eventstore.AnyVersion, false},
			{"any, new", b, eventstore.AnyVersion, false},
			{"exact, missing", c, 1, true},
		} {
			err := s.Append(t.Context(), On(step.stream, step.expected, int(n)))
			if step.conflict != fault.Is(err, fault.Conflict) || (err != nil && !step.conflict) {
				t.Fatalf("%d events, %s: err = %v, want conflict %v", n, step.name, err, step.conflict)
			}
		}
		versions(t, stream(t, s, a), 1, 3*n)
		versions(t, stream(t, s, b), 1, n)
		versions(t, stream(t, s, c), 1, 0)
	}
}

func allOrNothing(t *testing.T, s Store) {
	must(t, s.Append(t.Context(), On("agent/b", 0, 2)))
	for _, batch := range [][]eventstore.Append{
		{On("agent/a", 0, 1), On("agent/b", 1, 1), On("agent/c", 0, 3)}, // the middle one in the order of locks
		{On("agent/c", 0, 1), On("agent/b", 3, 2)},
		{On("agent/c", 1, 1), On("agent/b", 2, 1)},
	} {
		if err := s.Append(t.Context(), batch...); !fault.Is(err, fault.Conflict) {
			t.Fatalf("err = %v, want a conflict", err)
		}
	}
	if got := all(t, s); len(got) != 2 {
		t.Fatalf("%d events, want the first two: part of a refused batch was kept", len(got))
	}
	must(t, s.Append(t.Context(), On("agent/c", 0, 2), On("agent/a", eventstore.AnyVersion, 1), On("agent/b", 2, 1)))
	versions(t, stream(t, s, "agent/a"), 1, 1)
	versions(t, stream(t, s, "agent/b"), 1, 3)
	versions(t, stream(t, s, "agent/c"), 1, 2)
}

func roundTrip(t *testing.T, s Store) {
	for n, name := range map[int]string{1: "agent/one", 2: "agent/two"} {
		a := On(name, 0, n)
		for i := range a.Records {
			r := &a.Records[i]
			r.Kind, r.SchemaVersion, r.Causation, r.TraceParent = "agent.waiting", 7, "cause", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
			r.Time = time.Date(2026, 11, 27, 12, 0, i, 123_456_789, time.FixedZone("", 3600))
			r.Data = []byte("{\"text\":\"\\u0000 <&> ü\",  \"kept\": 1.0}") // bytes, not a JSON value
		}
		must(t, s.Append(t.Context(), a))
		got := stream(t, s, name)
		want := a.Records
		for i := range want {
			want[i].Tenant, want[i].Stream, want[i].StreamVersion = a.Tenant, a.Stream, int64(i+1)
			want[i].Time = want[i].Time.UTC().Truncate(time.Microsecond)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(events.Record{}, "Position")); diff != "" {
			t.Errorf("%d events (-written +read):\n%s", n, diff)
		}
	}
}

// idsAreNoKey: what was written is told apart by stream and version. An event's id is its name towards
// others; that it is new is its writer's to see to.
func idsAreNoKey(t *testing.T, s Store) {
	a, b := On("agent/a", 0, 1), On("agent/a", 1, 2)
	b.Records[0].ID, b.Records[1].ID = a.Records[0].ID, a.Records[0].ID
	must(t, s.Append(t.Context(), a))
	must(t, s.Append(t.Context(), b))
	versions(t, stream(t, s, "agent/a"), 1, 3)
}

func idIsUUID(t *testing.T, s Store) {
	for _, n := range []int{1, 2} {
		a := On("agent/a", 0, n)
		a.Records[n-1].ID = "no uuid"
		if err := s.Append(t.Context(), a); !fault.Is(err, fault.Internal) {
			t.Fatalf("err = %v, want internal", err)
		}
	}
	if got := all(t, s); len(got) != 0 {
		t.Fatalf("%d events were kept", len(got))
	}
}

func tenants(t *testing.T, s Store) {
	a, b := On("agent/x", 0, 2), On("agent/x", 0, 1)
	a.Tenant, b.Tenant = "A", "B"
	must(t, s.Append(t.Context(), a, b)) // both at 0: a stream belongs to its tenant
	for tenant, want := range map[string]int{"A": 2, "B": 1, "C": 0} {
		got, err := s.ReadStream(t.Context(), tenant, "agent/x", 0, 0)
		must(t, err)
		subject, err := s.ReadSubject(t.Context(), tenant, []string{"agent/x"}, 0, Everything, 10)
		must(t, err)
		if len(got) != want || len(subject) != want {
			t.Errorf("tenant %s: %d and %d records, want %d", tenant, len(got), len(subject), want)
		}
		for _, r := range append(got, subject...) {
			if r.Tenant != tenant {
				t.Errorf("tenant %s read a record of %s", tenant, r.Tenant)
			}
		}
	}
}

func readStream(t *testing.T, s Store) {
	must(t, s.Append(t.Context(), On("agent/a", 0, 5)))
	must(t, s.Append(t.Context(), On("agent/b", 0, 5)))
	for _, c := range []struct {
		after, first, last int64
		limit              int
	}{{0, 1, 5, 0}, {0, 1, 2, 2}, {3, 4, 5, 0}, {3, 4, 4, 1}, {3, 4, 5, 9}, {5, 6, 5, 0}, {9, 10, 9, 3}} {
		got, err := s.ReadStream(t.Context(), events.DefaultTenant, "agent/a", c.after, c.limit)
		must(t, err)
		versions(t, got, c.first, c.last)
	}
}

// readSubject reads two of three streams whose events lie between each other, from every position on and
// up to every position, by pages of every size, and compares with what a filter of all makes of it.
func readSubject(t *testing.T, s Store) {
	for v := range int64(6) {
		must(t, s.Append(t.Context(), On("agent/a", v, 1), On("agent/b", 2*v, 2)))
		must(t, s.Append(t.Context(), On("agent/other", v, 1)))
	}
	log := all(t, s)
	streams := []string{"agent/b", "agent/none", "agent/a"}
	bounds := []int64{0, Everything}
	for _, r := range log {
		bounds = append(bounds, r.Position)
	}
	for _, after := range bounds {
		for _, upTo := range bounds {
			for _, limit := range []int{1, 4, 100} {
				var want []events.Record
				for _, r := range log {
					if r.Stream != "agent/other" && r.Position > after && r.Position <= upTo && len(want) < limit {
						want = append(want, r)
					}
				}
				got, err := s.ReadSubject(t.Context(), events.DefaultTenant, streams, after, upTo, limit)
				must(t, err)
				if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("after %d, up to %d, limit %d (-want +got):\n%s", after, upTo, limit, diff)
				}
			}
		}
	}
}

func readAll(t *testing.T, s Store) {
	must(t, s.Append(t.Context(), On("agent/a", 0, 3), On("agent/b", 0, 2)))
	must(t, s.Append(t.Context(), On("agent/a", 3, 1)))
	log := all(t, s)
	if len(log) != 6 {
		t.Fatalf("%d events, want 6", len(log))
	}
	for i := range log {
		if i > 0 && log[i].Position <= log[i-1].Position {
			t.Fatalf("position %d after %d", log[i].Position, log[i-1].Position)
		}
		got, err := s.ReadAll(t.Context(), log[i].Position, log[4].Position, 2)
		must(t, err)
		if diff := cmp.Diff(log[min(i+1, 5):min(i+3, 5)], got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("after the %d. (-want +got):\n%s", i+1, diff)
		}
	}
}

func oneWins(t *testing.T, s Store) {
	const writers = 8
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = s.Append(t.Context(), On("agent/a", 0, 1+i%2), On("agent/b", 0, 1)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !fault.Is(err, fault.Conflict):
			t.Errorf("err = %v, want a conflict", err)
		}
	}
	if won != 1 || len(stream(t, s, "agent/b")) != 1 {
		t.Errorf("%d of %d writers won, %d events on agent/b; want 1 and 1", won, writers, len(stream(t, s, "agent/b")))
	}
}

func positionsAgree(t *testing.T, s Store) {
	const writers, each, streams = 8, 20, 3
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("agent/%d", (w+i)%streams)
				if err := s.Append(t.Context(), On(name, eventstore.AnyVersion, 1+i%3)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	last := map[string]int64{}
	for _, r := range all(t, s) {
		if r.StreamVersion != last[r.Stream]+1 {
			t.Fatalf("%s: version %d follows %d in the order of positions", r.Stream, r.StreamVersion, last[r.Stream])
		}
		last[r.Stream] = r.StreamVersion
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func stream(t *testing.T, s Store, name string) []events.Record {
	t.Helper()
	recs, err := s.ReadStream(t.Context(), events.DefaultTenant, name, 0, 0)
	must(t, err)
	return recs
}

func all(t *testing.T, s Store) []events.Record {
	t.Helper()
	recs, err := s.ReadAll(t.Context(), 0, Everything, 10_000)
	must(t, err)
	return recs
}

// versions fails unless the records are those of versions first to last, each at a higher position.
func versions(t *testing.T, recs []events.Record, first, last int64) {
	t.Helper()
	if int64(len(recs)) != last-first+1 {
		t.Fatalf("%d records, want versions %d to %d", len(recs), first, last)
	}
	for i, r := range recs {
		if r.StreamVersion != first+int64(i) || (i > 0 && r.Position <= recs[i-1].Position) {
			t.Fatalf("record %d has version %d, position %d; want version %d", i, r.StreamVersion, r.Position, first+int64(i))
		}
	}
}
