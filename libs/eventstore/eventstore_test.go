package eventstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/eventstore/eventstoretest"
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

func appendTo(ctx context.Context, db *pgxpool.Pool, appends ...eventstore.Append) error {
	var b eventstore.Batch
	for _, a := range appends {
		b.Add(a)
	}
	p := &pgx.Batch{}
	b.Queue(p)
	return eventstore.Classify("test", db.SendBatch(ctx, p).Close())
}

// one stages n events for a stream of the default tenant.
func one(stream string, expected int64, n int) eventstore.Append {
	return eventstoretest.On(stream, expected, n)
}

// postgres is the store as the suite sees it.
type postgres struct{ db *pgxpool.Pool }

func (p postgres) Append(ctx context.Context, appends ...eventstore.Append) error {
	return appendTo(ctx, p.db, appends...)
}

func (p postgres) ReadStream(ctx context.Context, tenant, stream string, after int64, limit int) ([]events.Record, error) {
	return eventstore.ReadStream(ctx, p.db, tenant, stream, after, limit)
}

func (p postgres) ReadSubject(ctx context.Context, tenant string, streams []string, after, upTo int64, limit int) ([]events.Record, error) {
	return eventstore.ReadSubject(ctx, p.db, tenant, streams, after, upTo, limit)
}

func (p postgres) ReadAll(ctx context.Context, after, upTo int64, limit int) ([]events.Record, error) {
	return eventstore.ReadAll(ctx, p.db, after, upTo, limit)
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	eventstoretest.Run(t, func(t *testing.T) eventstoretest.Store {
		t.Helper()
		return postgres{store(t)}
	})
}

func TestARefusedBatchLeavesNoOutboxRow(t *testing.T) {
	t.Parallel()
	db := store(t)
	if err := appendTo(t.Context(), db, one("agent/a", 0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := appendTo(t.Context(), db, one("agent/b", 0, 1), one("agent/a", 0, 1)); !fault.Is(err, fault.Conflict) {
		t.Fatalf("err = %v, want a conflict", err)
	}
	var outbox int
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM eventstore.outbox").Scan(&outbox); err != nil || outbox != 1 {
		t.Fatalf("outbox has %d rows, err %v, want 1", outbox, err)
	}
}

// TestASubjectIsReadByItsStreams: what a read of one process costs must not depend on how many others
// there are, nor on how much of its own was read before.
func TestASubjectIsReadByItsStreams(t *testing.T) {
	t.Parallel()
	db := store(t)
	var others []eventstore.Append
	for i := range 200 {
		others = append(others, one(fmt.Sprintf("agent/o%d", i), 0, 25))
	}
	if err := appendTo(t.Context(), db, one("agent/mine", 0, 300)); err != nil {
		t.Fatal(err)
	}
	if err := appendTo(t.Context(), db, others...); err != nil {
		t.Fatal(err)
	}
	if err := appendTo(t.Context(), db, one("agent/mine", 300, 300)); err != nil {
		t.Fatal(err)
	}
	whole, err := eventstore.ReadSubject(t.Context(), db, "default", []string{"agent/mine"}, 0, 1<<62, 1000)
	if err != nil || len(whole) != 600 {
		t.Fatalf("%d records, err %v, want 600", len(whole), err)
	}
	for _, from := range []int{0, 299, 590} {
		n := rowsRead(t, db, func(q eventstore.Querier) {
			recs, err := eventstore.ReadSubject(t.Context(), q, "default", []string{"agent/mine", "llm/mine"}, whole[from].Position, 1<<62, 20)
			if err != nil || len(recs) == 0 || recs[0].StreamVersion != whole[from].StreamVersion+1 {
				t.Fatalf("%d records, err %v", len(recs), err)
			}
		})
		if n > 60 {
			t.Errorf("from version %d: 20 records cost %d rows, want no more than 60", from+1, n)
		}
	}
}

// rowsRead is how many rows of the table of events the readings of f took, from the heap or an index.
func rowsRead(t *testing.T, db *pgxpool.Pool, f func(q eventstore.Querier)) (n int64) {
	t.Helper()
	const counted = `SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(c.oid) + pg_stat_get_xact_tuples_fetched(c.oid)), 0)::bigint
		FROM pg_class AS c JOIN pg_namespace AS s ON s.oid = c.relnamespace
		WHERE s.nspname = 'eventstore' AND c.relname LIKE 'events%'`
	err := pgx.BeginFunc(t.Context(), db, func(tx pgx.Tx) error {
		var before int64
		if err := tx.QueryRow(t.Context(), counted).Scan(&before); err != nil {
			return err
		}
		f(tx)
		if err := tx.QueryRow(t.Context(), counted).Scan(&n); err != nil {
			return err
		}
		n -= before
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestASessionBeginsWithItsRolesSettings: they come with the login, not with a Postgres we have configured.
func TestASessionBeginsWithItsRolesSettings(t *testing.T) {
	t.Parallel()
	db := store(t)
	for name, want := range map[string]string{
		"enable_seqscan": "off", "plan_cache_mode": "force_generic_plan", "idle_in_transaction_session_timeout": "1min",
		// On a socket file, as here, Postgres shows these as unset.
		"tcp_user_timeout": "0", "tcp_keepalives_idle": "0", "tcp_keepalives_interval": "0", "tcp_keepalives_count": "0",
	} {
		var got, source string
		err := db.QueryRow(t.Context(), "SELECT current_setting(name), source FROM pg_settings WHERE name = $1", name).Scan(&got, &source)
		if err != nil || got != want || source != "database user" {
			t.Errorf("%s = %s from %s, err %v, want %s from the role", name, got, source, err, want)
		}
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

// TestWatermarkLosesNothing runs the workload that breaks the two cursors people use: many writers whose
// transactions have an id (an inbox row) before they lock their stream, and commit some time after they
// drew a position. Both cursors are controls: the plain one must lose events and the one ordered by
// transaction id must reorder them, else the workload proves nothing.
func TestWatermarkLosesNothing(t *testing.T) {
	t.Parallel()
	db := store(t)
	if _, err := db.Exec(t.Context(), "CREATE TABLE inbox (id uuid)"); err != nil {
		t.Fatal(err)
	}
	const writers, each = 16, 60
	done := write(t, db, writers, each)
	safe, plain, byXID := &reader{seen: map[string][]int64{}}, &reader{seen: map[string][]int64{}}, &reader{seen: map[string][]int64{}}
	var mark eventstore.Watermark
	// A transaction of any database of the server holds the watermark back, so the end takes its time.
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		ended := done.Load()
		upTo, err := mark.Advance(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		safe.follow(t, db, upTo)
		plain.follow(t, db, 1<<62)
		byXID.followXID(t, db)
		if n, _ := byXID.total(); ended && upTo >= plain.pos && n == writers*each {
			break
		}
	}
	if n, inverted := safe.total(); n != writers*each || inverted != 0 {
		t.Errorf("watermark: read %d of %d events, %d out of order", n, writers*each, inverted)
	}
	lost, _ := plain.total()
	if lost = writers*each - lost; lost == 0 {
		t.Error("control: the plain cursor lost nothing: the workload does not test the watermark")
	}
	_, inverted := byXID.total()
	if inverted == 0 {
		t.Error("control: the cursor by transaction id reordered nothing: the workload does not test the watermark")
	}
	t.Logf("of %d events the plain cursor lost %d, the cursor by transaction id reordered %d; the watermark neither", writers*each, lost, inverted)
}

// write starts the writers and says when they have ended.
func write(t *testing.T, db *pgxpool.Pool, writers, each int) *atomic.Bool {
	t.Helper()
	const streams = 8
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
	return &done
}

// reader follows the store with its own idea of a cursor and notes what it saw.
type reader struct {
	seen     map[string][]int64 // versions by stream, in the order they were read
	xid, pos int64              // cursor
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

func (r *reader) follow(t *testing.T, db *pgxpool.Pool, upTo int64) {
	t.Helper()
	recs, err := eventstore.ReadAll(t.Context(), db, r.pos, upTo, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs {
		r.seen[rec.Stream] = append(r.seen[rec.Stream], rec.StreamVersion)
		r.pos = rec.Position
	}
}

// followXID reads in the order of (transaction id, position) below the snapshot's xmin.
func (r *reader) followXID(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT stream, version, xmin::text::bigint AS xid, pos FROM eventstore.events
		WHERE (xmin::text::bigint, pos) > ($1, $2)
		  AND xmin::text::bigint < pg_snapshot_xmin(pg_current_snapshot())::text::bigint ORDER BY 3, 4`, r.xid, r.pos)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var stream string
		var version int64
		if err := rows.Scan(&stream, &version, &r.xid, &r.pos); err != nil {
			t.Fatal(err)
		}
		r.seen[stream] = append(r.seen[stream], version)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// slowAppend appends in a transaction that has its id some time before it locks the stream, and stays
// open a while after it drew its position.
func slowAppend(ctx context.Context, db *pgxpool.Pool, stream string, rnd *rand.Rand) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "WITH i AS (INSERT INTO inbox VALUES (gen_random_uuid())) SELECT pg_sleep($1)", rnd.Float64()*0.004); err != nil {
			return err
		}
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
