package eventstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func store(t *testing.T) *pgxpool.Pool {
	t.Helper()
	admin := testkit.Postgres(t)
	err := eventstore.Setup(t.Context(), admin, 4, []eventstore.Service{{Name: "scheduler", Family: events.Agent, Password: "pw"}})
	if err != nil {
		t.Fatal(err)
	}
	url, err := eventstore.ServiceURL(admin, "scheduler", "pw")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = 24
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func record(data string) events.Record {
	return events.Record{
		ID: uuid.Must(uuid.NewV7()).String(), Kind: "agent.spawned", SchemaVersion: 1, Time: time.Now(),
		Correlation: "c", Data: []byte(data),
	}
}

func appendTo(ctx context.Context, db *pgxpool.Pool, appends ...eventstore.Append) error {
	var b eventstore.Batch
	for _, a := range appends {
		b.Add(a)
	}
	p := &pgx.Batch{}
	b.Queue(p)
	return eventstore.Classify("test", db.SendBatch(ctx, p).Close())
}

func one(stream string, expected int64, n int) eventstore.Append {
	a := eventstore.Append{Tenant: "default", Stream: stream, Expected: expected}
	for i := range n {
		a.Records = append(a.Records, record(fmt.Sprintf(`{"n":%d}`, i)))
	}
	return a
}

func TestExpectedVersions(t *testing.T) {
	t.Parallel()
	db := store(t)
	steps := []struct {
		name     string
		stream   string
		expected int64
		conflict bool
	}{
		{"new must not exist", "agent/a", 0, false},
		{"exists already", "agent/a", 0, true},
		{"exact", "agent/a", 2, false},
		{"stale", "agent/a", 2, true},
		{"ahead", "agent/a", 9, true},
		{"any", "agent/a", eventstore.AnyVersion, false},
		{"any, new", "agent/b", eventstore.AnyVersion, false},
		{"exact, missing", "agent/c", 1, true},
	}
	for _, s := range steps {
		err := appendTo(t.Context(), db, one(s.stream, s.expected, 2))
		if s.conflict != fault.Is(err, fault.Conflict) || (err != nil && !s.conflict) {
			t.Fatalf("%s: err = %v, want conflict %v", s.name, err, s.conflict)
		}
	}
	recs, err := eventstore.ReadStream(t.Context(), db, "default", "agent/a", 0, 0)
	if err != nil || len(recs) != 6 {
		t.Fatalf("%d records, err %v, want 6", len(recs), err)
	}
	for i, r := range recs {
		if r.StreamVersion != int64(i+1) || (i > 0 && r.Position <= recs[i-1].Position) {
			t.Fatalf("record %d: version %d position %d", i, r.StreamVersion, r.Position)
		}
	}
}

func TestABatchIsAllOrNothing(t *testing.T) {
	t.Parallel()
	db := store(t)
	if err := appendTo(t.Context(), db, one("agent/a", 0, 1)); err != nil {
		t.Fatal(err)
	}
	err := appendTo(t.Context(), db, one("agent/b", 0, 1), one("agent/a", 0, 1))
	if !fault.Is(err, fault.Conflict) {
		t.Fatalf("err = %v, want a conflict", err)
	}
	if recs, _ := eventstore.ReadStream(t.Context(), db, "default", "agent/b", 0, 0); len(recs) != 0 {
		t.Fatal("half of the batch was kept")
	}
	var outbox int
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM eventstore.outbox").Scan(&outbox); err != nil || outbox != 1 {
		t.Fatalf("outbox has %d rows, err %v, want 1", outbox, err)
	}
}

func TestTenantsDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	db := store(t)
	a := one("agent/a", 0, 1)
	a.Tenant = "A"
	if err := appendTo(t.Context(), db, a); err != nil {
		t.Fatal(err)
	}
	if recs, _ := eventstore.ReadStream(t.Context(), db, "B", "agent/a", 0, 0); len(recs) != 0 {
		t.Fatal("tenant B read tenant A's stream")
	}
	b := one("agent/a", 0, 1)
	b.Tenant = "B"
	if err := appendTo(t.Context(), db, b); err != nil {
		t.Fatalf("tenant B cannot use the same subject: %v", err)
	}
}

func TestAnotherPartitionCountIsRefused(t *testing.T) {
	t.Parallel()
	admin := testkit.Postgres(t)
	if err := eventstore.Setup(t.Context(), admin, 4, nil); err != nil {
		t.Fatal(err)
	}
	if err := eventstore.Setup(t.Context(), admin, 12, nil); !fault.Is(err, fault.Invalid) {
		t.Fatalf("err = %v, want invalid", err)
	}
}

// reader follows the store with its own idea of a cursor and notes what it saw.
type reader struct {
	seen map[string][]int64 // versions by stream, in the order they were read
}

func (r *reader) take(recs []events.Record) {
	for _, rec := range recs {
		r.seen[rec.Stream] = append(r.seen[rec.Stream], rec.StreamVersion)
	}
}

func (r *reader) total() (n, inverted int) {
	for _, vs := range r.seen {
		for i, v := range vs {
			n++
			if i > 0 && v < vs[i-1] {
				inverted++
			}
		}
	}
	return n, inverted
}

// TestWatermarkLosesNothing runs the workload that breaks a plain cursor: many writers whose transactions
// take a position and commit some time later. The plain cursor is the control: it must lose events, else
// the workload proves nothing.
func TestWatermarkLosesNothing(t *testing.T) {
	t.Parallel()
	db := store(t)
	const writers, each, streams = 16, 60, 8
	var done atomic.Bool
	var wg sync.WaitGroup
	for w := range writers {
		rnd := rand.New(rand.NewPCG(1, uint64(w))) //nolint:gosec // repeatable, not secret
		wg.Go(func() {
			for range each {
				if err := slowAppend(t.Context(), db, fmt.Sprintf("agent/s%d", rnd.IntN(streams)), rnd); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	go func() { wg.Wait(); done.Store(true) }()
	safe, plain := &reader{map[string][]int64{}}, &reader{map[string][]int64{}}
	var mark eventstore.Watermark
	var safeAt, plainAt int64
	// A transaction of any database of the server holds the watermark back, so the end takes its time.
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		ended := done.Load()
		upTo, err := mark.Advance(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		safeAt = follow(t, db, safe, safeAt, upTo)
		plainAt = follow(t, db, plain, plainAt, 1<<62)
		if ended && upTo >= plainAt {
			break
		}
	}
	n, inverted := safe.total()
	if n != writers*each || inverted != 0 {
		t.Errorf("watermark: read %d of %d events, %d out of order", n, writers*each, inverted)
	}
	if n, _ := plain.total(); n >= writers*each {
		t.Errorf("control: the plain cursor lost nothing (%d events): the workload does not test the watermark", n)
	} else {
		t.Logf("control: the plain cursor lost %d of %d events; the watermark none", writers*each-n, writers*each)
	}
}

func follow(t *testing.T, db *pgxpool.Pool, r *reader, after, upTo int64) int64 {
	t.Helper()
	recs, err := eventstore.ReadAll(t.Context(), db, after, upTo, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	r.take(recs)
	if len(recs) > 0 {
		return recs[len(recs)-1].Position
	}
	return after
}

// slowAppend appends in a transaction that stays open a while after it drew its position.
func slowAppend(ctx context.Context, db *pgxpool.Pool, stream string, rnd *rand.Rand) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		var b eventstore.Batch
		b.Add(one(stream, eventstore.AnyVersion, 1))
		p := &pgx.Batch{}
		b.Queue(p)
		if err := tx.SendBatch(ctx, p).Close(); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "SELECT pg_sleep($1)", rnd.Float64()*0.004)
		return err
	})
}
