package eventstore_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/eventstore/eventstoretest"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

// owner is a connection of the store's owner to the database that a pool of store() is of.
func owner(t *testing.T, db *pgxpool.Pool) *pgx.Conn {
	t.Helper()
	cfg := db.Config().ConnConfig.Copy()
	admin, err := pgx.ParseConfig(testkit.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.User, cfg.Password = admin.User, admin.Password
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// life is the events of a process that ends with the given kind, or goes on when it is "".
func life(subject string, n int, end string) eventstore.Append {
	a := one(events.Agent.Stream(subject), 0, n)
	if end != "" {
		last := one(a.Stream, int64(n), 1)
		last.Records[0].Kind = end
		a.Records = append(a.Records, last.Records...)
	}
	return a
}

func archive(t *testing.T, conn *pgx.Conn, dry bool, kinds ...string) eventstore.Archived {
	t.Helper()
	got, err := eventstore.Archive(t.Context(), conn, policy(kinds...), dry, func([]string, []string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func policy(kinds ...string) eventstore.ArchivePolicy {
	return eventstore.ArchivePolicy{Kinds: kinds, Before: time.Now().Add(time.Hour), Families: events.Families()}
}

func all(t *testing.T, db eventstore.Querier) []events.Record {
	t.Helper()
	recs, err := eventstore.ReadAll(t.Context(), db, 0, 1<<62, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

func hot(t *testing.T, conn *pgx.Conn) (n int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM ONLY eventstore.events").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// cold is the store with all its events in the cold part, as soon as they are written.
type cold struct {
	postgres
	mu    sync.Mutex
	owner *pgx.Conn
}

func (c *cold) Append(ctx context.Context, appends ...eventstore.Append) error {
	if err := c.postgres.Append(ctx, appends...); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.owner.Exec(ctx, `WITH moved AS (DELETE FROM ONLY eventstore.events RETURNING *)
		INSERT INTO eventstore.events_archive SELECT * FROM moved`)
	return err
}

func TestTheColdPartIsAsGoodAStore(t *testing.T) {
	t.Parallel()
	eventstoretest.Run(t, func(t *testing.T) eventstoretest.Store {
		t.Helper()
		db := store(t)
		return &cold{postgres: postgres{db}, owner: owner(t, db)}
	})
}

func TestArchiveMovesWhatHasEnded(t *testing.T) {
	t.Parallel()
	db := store(t)
	conn := owner(t, db)
	err := appendTo(t.Context(), db, life("done", 3, "agent.completed"), life("failed", 2, "agent.failed"), life("live", 4, ""),
		life("long", 5_000, "agent.completed"))
	if err != nil {
		t.Fatal(err)
	}
	before := all(t, db)

	young := policy("agent.completed")
	young.Before = time.Now().Add(-time.Hour)
	none, err := eventstore.Archive(t.Context(), conn, young, false, func([]string, []string) error { return nil })
	if err != nil || none.Events != 0 {
		t.Fatalf("what ended just now: %+v, %v", none, err)
	}
	dry := archive(t, conn, true, "agent.completed")
	if n := hot(t, conn); n != len(before) {
		t.Fatalf("a dry run moved %d events", len(before)-n)
	}
	got := archive(t, conn, false, "agent.completed")
	if diff := cmp.Diff(dry, got); diff != "" {
		t.Errorf("the dry run said otherwise: %s", diff)
	}
	if got.Subjects["agent.completed"] != 2 || got.Streams != 2 || got.Events != 5_005 || got.Bytes == 0 {
		t.Errorf("archived %+v", got)
	}
	if n := hot(t, conn); n != 7 {
		t.Errorf("%d events are hot, want those of the failed and the living", n)
	}
	if diff := cmp.Diff(before, all(t, db)); diff != "" {
		t.Errorf("the events read otherwise: %s", diff)
	}
	if got := archive(t, conn, false, "agent.completed", "agent.failed"); got.Events != 3 {
		t.Errorf("the second run moved %+v, want the failed one", got)
	}

	// A stream goes on where it was, in the hot part, and the newest position is found in both.
	if err := appendTo(t.Context(), db, one("agent/done", 3, 1)); !fault.Is(err, fault.Conflict) {
		t.Errorf("append at an old version: %v", err)
	}
	if err := appendTo(t.Context(), db, one("agent/done", 4, 1)); err != nil {
		t.Error(err)
	}
	recs, err := eventstore.ReadStream(t.Context(), db, "default", "agent/done", 0, 0)
	if err != nil || len(recs) != 5 || recs[4].StreamVersion != 5 || recs[4].Position < recs[3].Position {
		t.Errorf("the stream reads %+v, %v", recs, err)
	}
	if safe, err := eventstore.SafeNow(t.Context(), db); err != nil || safe != recs[4].Position {
		t.Errorf("safe is %d, %v, want %d", safe, err, recs[4].Position)
	}
}

func TestOneArchiveRunAtATime(t *testing.T) {
	t.Parallel()
	db := store(t)
	first, second := owner(t, db), owner(t, db)
	if err := appendTo(t.Context(), db, life("a", 1, "agent.completed")); err != nil {
		t.Fatal(err)
	}
	_, err := eventstore.Archive(t.Context(), first, policy("agent.completed"), false, func([]string, []string) error {
		_, err := eventstore.Archive(t.Context(), second, policy("agent.completed"), false, nil)
		return err
	})
	if !fault.Is(err, fault.Conflict) {
		t.Fatalf("beside another run: %v", err)
	}
	if got := archive(t, second, false, "agent.completed"); got.Events != 0 {
		t.Fatalf("moved twice: %+v", got)
	}
}

// No role of a service may archive or touch the cold part.
func TestAServiceCannotArchive(t *testing.T) {
	t.Parallel()
	db := store(t)
	for _, sql := range []string{
		"DELETE FROM eventstore.events", "DELETE FROM eventstore.events_archive",
		"INSERT INTO eventstore.events_archive SELECT * FROM eventstore.events",
	} {
		if _, err := db.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: was allowed", sql)
		}
	}
}

// A database of before the archive is upgraded in place, while it is written to.
func TestAnOlderStoreIsUpgraded(t *testing.T) {
	t.Parallel()
	admin := testkit.Postgres(t)
	conn, err := pgx.Connect(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	old, err := os.ReadFile("testdata/schema.before_archive.sql")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE SCHEMA eventstore; "+string(old)); err != nil {
		t.Fatal(err)
	}
	setup := func() {
		t.Helper()
		err := eventstore.Setup(t.Context(), admin, 4, []eventstore.Service{{Name: "scheduler", Family: events.Agent, Password: "pw"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Exec(t.Context(), `INSERT INTO eventstore.events (pos, tenant, stream, version, event_id, kind, schema_version, time, correlation, causation, traceparent, data)
		SELECT nextval('eventstore.position'), 'default', 'agent/a', v, gen_random_uuid(), CASE v WHEN 50 THEN 'agent.completed' ELSE 'agent.waiting' END, 1, now(), 'c', '', '', '{}' FROM generate_series(1, 50) AS v;
		INSERT INTO eventstore.streams VALUES ('default', 'agent/a', 50)`); err != nil {
		t.Fatal(err)
	}
	before := all(t, conn)
	setup()
	setup() // again
	db, err := pgxpool.New(context.WithoutCancel(t.Context()), serviceURL(t, admin))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if got := archive(t, conn, false, "agent.completed"); got.Events != 50 {
		t.Fatalf("archived %+v", got)
	}
	setup() // with events in the cold part
	if diff := cmp.Diff(before, all(t, db)); diff != "" {
		t.Fatal(diff)
	}
	if err := appendTo(t.Context(), db, one("agent/a", 50, 1)); err != nil {
		t.Fatal(err)
	}
	if recs := all(t, db); len(recs) != 51 || recs[50].StreamVersion != 51 {
		t.Fatalf("%d events", len(recs))
	}
}

func serviceURL(t *testing.T, admin string) string {
	t.Helper()
	url, err := eventstore.ServiceURL(admin, "scheduler", "pw")
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// The part an operator takes away is gone from all reads, nothing else is, and it comes back as it was.
func TestTheColdPartCanBeDetached(t *testing.T) {
	t.Parallel()
	db := store(t)
	conn := owner(t, db)
	if err := appendTo(t.Context(), db, life("old", 3, "agent.completed"), life("live", 2, "")); err != nil {
		t.Fatal(err)
	}
	archive(t, conn, false, "agent.completed")
	before := all(t, db)
	run := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	run("ALTER TABLE eventstore.events_archive NO INHERIT eventstore.events")
	run("ALTER TABLE eventstore.events_archive RENAME TO events_2026")
	if recs := all(t, db); len(recs) != 2 {
		t.Fatalf("%d events are left, want those of the living", len(recs))
	}
	cfg := conn.Config()
	admin := fmt.Sprintf("postgres:///%s?host=%s&port=%d&user=%s&password=%s", cfg.Database, cfg.Host, cfg.Port, cfg.User, cfg.Password)
	if err := eventstore.Setup(t.Context(), admin, 4, []eventstore.Service{{Name: "scheduler", Family: events.Agent, Password: "pw"}}); err != nil {
		t.Fatal(err)
	}
	if err := appendTo(t.Context(), db, life("later", 3, "agent.completed")); err != nil {
		t.Fatal(err)
	}
	if got := archive(t, conn, false, "agent.completed"); got.Events != 4 {
		t.Fatalf("into the new part: %+v", got)
	}
	run("ALTER TABLE eventstore.events_2026 INHERIT eventstore.events")
	if diff := cmp.Diff(before, all(t, db)[:len(before)]); diff != "" {
		t.Fatal(diff)
	}
}

// mover moves one stream from the hot to the cold part.
type mover func(ctx context.Context, conn *pgx.Conn, stream string) error

// ours is what eventstore.Archive does.
func ours(ctx context.Context, conn *pgx.Conn, _ string) error {
	_, err := eventstore.Archive(ctx, conn, policy("agent.completed"), false, func([]string, []string) error { return nil })
	return err
}

const (
	copySQL = `INSERT INTO eventstore.events_archive SELECT * FROM ONLY eventstore.events WHERE stream = $1`
	dropSQL = `DELETE FROM ONLY eventstore.events WHERE stream = $1`
)

// copyFirst and dropFirst are the two ways of moving in two transactions; dropFirst keeps what it has
// dropped aside.
func copyFirst(ctx context.Context, conn *pgx.Conn, stream string) error {
	if _, err := conn.Exec(ctx, copySQL, stream); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, dropSQL, stream)
	return err
}

func dropFirst(ctx context.Context, conn *pgx.Conn, stream string) error {
	if _, err := conn.Exec(ctx, "CREATE TEMP TABLE aside AS SELECT * FROM ONLY eventstore.events WHERE stream = '"+stream+"'"); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, dropSQL, stream); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, "INSERT INTO eventstore.events_archive SELECT * FROM aside; DROP TABLE aside")
	return err
}

// While streams are written and moved, a reader by watermark sees every event once and in order, and a
// reader of a stream sees its versions without hole or double. The two ways of moving in two steps are
// controls: readers must see events twice or not at all.
func TestReadersSeeEveryEventOnceWhileItIsMoved(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		move  mover
		holds bool
	}{{"archive", ours, true}, {"control: copied first", copyFirst, false}, {"control: dropped first", dropFirst, false}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			db := store(t)
			tally := moveUnderReaders(t, db, owner(t, db), tc.move, tc.holds)
			t.Logf("%d reads, %d events doubled, %d lost, %d streams read with holes", tally.reads.Load(), tally.doubled.Load(), tally.lost.Load(), tally.torn.Load())
			wrong := tally.doubled.Load() + tally.lost.Load() + tally.torn.Load()
			if tc.holds && wrong > 0 {
				t.Error("readers saw an event twice or not at all")
			}
			if !tc.holds && wrong == 0 {
				t.Error("the control moved without anybody seeing it: the workload tests nothing")
			}
		})
	}
}

// tally is what readers saw.
type tally struct{ reads, doubled, lost, torn atomic.Int64 }

// moveUnderReaders writes streams that end, moves each and reads all the while: until everything was
// moved, and for a control at least until something was seen.
func moveUnderReaders(t *testing.T, db *pgxpool.Pool, conn *pgx.Conn, move mover, holds bool) *tally {
	t.Helper()
	const streams, length = 60, 40
	var seen tally
	var written, moved atomic.Int64
	var writer, readers sync.WaitGroup
	done := make(chan struct{})
	writer.Go(func() {
		for s := range streams {
			a := life(fmt.Sprintf("s%d", s), length-1, "agent.completed")
			if err := appendTo(t.Context(), db, a); err != nil {
				t.Error(err)
				return
			}
			written.Add(1)
		}
	})
	for range 2 {
		readers.Go(func() { readStreams(t, db, done, &moved, &written, length, &seen) })
	}
	readers.Go(func() { followAll(t, db, done, streams*length, &seen) })
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if n := moved.Load(); n < written.Load() {
			if err := move(t.Context(), conn, fmt.Sprintf("agent/s%d", n)); err != nil {
				t.Error(err)
				break
			}
			moved.Add(1)
			continue
		}
		if moved.Load() == streams && (holds || seen.doubled.Load()+seen.lost.Load()+seen.torn.Load() > 0) {
			break
		}
		if moved.Load() == streams { // a control that nobody saw: move everything back and again
			if _, err := conn.Exec(t.Context(), `WITH b AS (DELETE FROM eventstore.events_archive RETURNING *) INSERT INTO eventstore.events SELECT * FROM b`); err != nil {
				t.Error(err)
				break
			}
			moved.Store(0)
		}
	}
	writer.Wait()
	close(done)
	readers.Wait()
	return &seen
}

// readStreams reads streams around the one that is being moved, from their start.
func readStreams(t *testing.T, db *pgxpool.Pool, done <-chan struct{}, moved, written *atomic.Int64, length int, seen *tally) {
	t.Helper()
	for i := int64(0); ; i++ {
		select {
		case <-done:
			return
		default:
		}
		if written.Load() == 0 {
			continue
		}
		s := min(moved.Load()+i%2, written.Load()-1)
		recs, err := eventstore.ReadStream(t.Context(), db, "default", fmt.Sprintf("agent/s%d", s), 0, 0)
		if err != nil {
			t.Error(err)
			return
		}
		seen.reads.Add(1)
		whole := len(recs) == length
		for k, r := range recs {
			whole = whole && r.StreamVersion == int64(k+1)
		}
		if !whole {
			seen.torn.Add(1)
		}
	}
}

// followAll reads everything again and again by a new watermark, as one who begins does, in small pages.
func followAll(t *testing.T, db *pgxpool.Pool, done <-chan struct{}, total int, seen *tally) {
	t.Helper()
	for last := false; ; {
		select {
		case <-done:
			last = true // once more, to the end
		default:
		}
		safe, err := eventstore.SafeNow(t.Context(), db)
		if err != nil {
			t.Error(err)
			return
		}
		var got []int64
		for after := int64(0); ; {
			recs, err := eventstore.ReadAll(t.Context(), db, after, safe, 50)
			if err != nil {
				t.Error(err)
				return
			}
			for _, r := range recs {
				got = append(got, r.Position)
				after = r.Position
			}
			if len(recs) < 50 {
				break
			}
		}
		seen.reads.Add(1)
		if !slices.IsSorted(got) {
			t.Error("positions came out of order")
		}
		unique := len(slices.Compact(slices.Clone(got)))
		seen.doubled.Add(int64(len(got) - unique))
		// Appends here have no holes: what is safe is there.
		if holes := int(safe) - unique; holes > 0 {
			seen.lost.Add(int64(holes))
		}
		if last {
			if unique != total {
				seen.lost.Add(int64(total - unique))
			}
			return
		}
	}
}
