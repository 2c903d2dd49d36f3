package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
)

// The controls follow the same store during the same run: the watermark must see every event once and in
// order; the two cursors people use must lose or reorder some, else the run has proved nothing. So that
// this does not hang on luck, some writers of a family of their own hold their transactions open for a
// few milliseconds after they have drawn a position.
const (
	control        = "control"
	controlWriters = 16
	controlEach    = 60
)

type controls struct {
	db, own *pgxpool.Pool
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	safe, plain, byXID reader
	mark               eventstore.Watermark
}

// reader follows the store with its own idea of a cursor and notes what it saw.
type reader struct {
	seen     map[string][]int64 // versions by stream, in the order they were read
	xid, pos int64
}

// startControls begins to write and to read.
func startControls(t *testing.T, w *world, seed uint64) *controls {
	t.Helper()
	admin := w.db.Config().ConnString()
	var partitions int
	if err := w.db.QueryRow(t.Context(), "SELECT value::int FROM eventstore.meta WHERE key = 'partitions'").Scan(&partitions); err != nil {
		t.Fatal(err)
	}
	err := eventstore.Setup(t.Context(), admin, partitions, []eventstore.Service{{Name: control, Family: control, Password: control}})
	if err != nil {
		t.Fatal(err)
	}
	url, err := eventstore.ServiceURL(admin, control, control)
	if err != nil {
		t.Fatal(err)
	}
	own, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own.Exec(t.Context(), "CREATE TABLE IF NOT EXISTS inbox (id uuid)"); err != nil {
		t.Fatal(err)
	}
	c := &controls{db: w.db, own: own}
	for _, r := range []*reader{&c.safe, &c.plain, &c.byXID} {
		r.seen = map[string][]int64{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.cancel = cancel
	for n := range controlWriters {
		rnd := rand.New(rand.NewPCG(seed, uint64(n)+2)) //nolint:gosec // repeatable, not secret
		c.wg.Go(func() { c.write(ctx, rnd) })
	}
	c.wg.Go(func() { c.follow(ctx) })
	t.Cleanup(func() { cancel(); c.wg.Wait(); own.Close() })
	return c
}

// write appends slowly; what a fault breaks off is not written again.
func (c *controls) write(ctx context.Context, rnd *rand.Rand) {
	for range controlEach {
		if err := c.slowAppend(ctx, rnd); err != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

func (c *controls) slowAppend(ctx context.Context, rnd *rand.Rand) error {
	stream := fmt.Sprintf("%s/s%d", control, rnd.IntN(8))
	before, after := rnd.Float64()*0.004, rnd.Float64()*0.004
	return pgx.BeginFunc(ctx, c.own, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "WITH i AS (INSERT INTO inbox VALUES (gen_random_uuid())) SELECT pg_sleep($1)", before); err != nil {
			return err
		}
		var b eventstore.Batch
		b.Add(eventstore.Append{Tenant: control, Stream: stream, Expected: eventstore.AnyVersion, Records: []events.Record{{
			ID: uuid.Must(uuid.NewV7()).String(), Kind: "control.written", SchemaVersion: 1, Time: time.Now(), Data: []byte("{}"),
		}}})
		p := &pgx.Batch{}
		b.Queue(p)
		if err := tx.SendBatch(ctx, p).Close(); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "SELECT pg_sleep($1)", after)
		return err
	})
}

func (c *controls) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if c.poll(ctx) != nil { // the database is away, as it shall be
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (c *controls) poll(ctx context.Context) error {
	upTo, err := c.mark.Advance(ctx, c.db)
	if err != nil {
		return err
	}
	if err := c.safe.follow(ctx, c.db, upTo); err != nil {
		return err
	}
	if err := c.plain.follow(ctx, c.db, 1<<62); err != nil {
		return err
	}
	return c.byXID.followXID(ctx, c.db)
}

func (r *reader) follow(ctx context.Context, db *pgxpool.Pool, upTo int64) error {
	recs, err := eventstore.ReadAll(ctx, db, r.pos, upTo, 10_000)
	for _, rec := range recs {
		r.seen[rec.Stream] = append(r.seen[rec.Stream], rec.StreamVersion)
		r.pos = rec.Position
	}
	return err
}

// followXID reads in the order of (transaction id, position) below the snapshot's xmin.
func (r *reader) followXID(ctx context.Context, db *pgxpool.Pool) error {
	rows, err := db.Query(ctx, `SELECT stream, version, xmin::text::bigint AS xid, pos FROM eventstore.events
		WHERE (xmin::text::bigint, pos) > ($1, $2)
		  AND xmin::text::bigint < pg_snapshot_xmin(pg_current_snapshot())::text::bigint ORDER BY 3, 4`, r.xid, r.pos)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var stream string
		var version int64
		if err := rows.Scan(&stream, &version, &r.xid, &r.pos); err != nil {
			return err
		}
		r.seen[stream] = append(r.seen[stream], version)
	}
	return rows.Err()
}

// sight is what a reader made of the events there are.
type sight struct{ lost, doubled, reordered int }

func (r *reader) sight(heads map[string]int64) (s sight) {
	for stream, head := range heads {
		once := map[int64]bool{}
		var last int64
		for _, v := range r.seen[stream] {
			switch {
			case v > head:
				continue // younger than the end
			case once[v]:
				s.doubled++
			case v < last:
				s.reordered++
			}
			once[v] = true
			last = max(last, v)
		}
		s.lost += int(head) - len(once)
	}
	return s
}

// finish lets the readers come to the end, and takes what was written for them out of the store again:
// the audit log knows nothing of it.
func (c *controls) finish(ctx context.Context) (safe, plain, byXID sight, err error) {
	c.cancel()
	c.wg.Wait()
	var end int64
	if err = c.db.QueryRow(ctx, "SELECT max(pos) FROM eventstore.events").Scan(&end); err != nil {
		return safe, plain, byXID, err
	}
	for deadline := time.Now().Add(30 * time.Second); c.mark.Safe() < end; time.Sleep(10 * time.Millisecond) {
		if err = c.poll(ctx); err != nil {
			return safe, plain, byXID, err
		}
		if time.Now().After(deadline) {
			return safe, plain, byXID, fmt.Errorf("the watermark stays at %d of %d", c.mark.Safe(), end)
		}
	}
	if err = c.poll(ctx); err != nil {
		return safe, plain, byXID, err
	}
	heads, err := storedHeads(ctx, c.db, end)
	if err != nil {
		return safe, plain, byXID, err
	}
	_, err = c.db.Exec(ctx, `DELETE FROM eventstore.outbox WHERE family = 'control'; DELETE FROM eventstore.events WHERE tenant = 'control';
		DELETE FROM eventstore.streams WHERE tenant = 'control'`)
	return c.safe.sight(heads), c.plain.sight(heads), c.byXID.sight(heads), err
}

// storedHeads is the last version of each stream up to a position.
func storedHeads(ctx context.Context, db *pgxpool.Pool, upTo int64) (map[string]int64, error) {
	rows, err := db.Query(ctx, "SELECT stream, max(version) FROM eventstore.events WHERE pos <= $1 GROUP BY stream", upTo)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	heads := map[string]int64{}
	for rows.Next() {
		var stream string
		var version int64
		if err := rows.Scan(&stream, &version); err != nil {
			return nil, err
		}
		heads[stream] = version
	}
	return heads, rows.Err()
}
