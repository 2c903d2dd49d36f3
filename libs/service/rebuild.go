package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Rebuild says how a service's read models are made again from the event store.
type Rebuild struct {
	// Families whose facts the tables are made of. Default: Consumes.
	Families []events.Family
	// Handle writes the rows for one record. Default: Definition.Handle. u.Now is the record's time then,
	// what is appended or posted is left out, and no effect starts.
	Handle func(ctx context.Context, u *Unit, in *Input) error
	// Keep are own tables that no fact speaks of, such as answers to idempotent requests. They stay.
	Keep []string
	// Primary is why the tables cannot be made again: they are a record of their own. Default: they can.
	Primary string
}

// RebuildResult is what a rebuild did.
type RebuildResult struct {
	Tables []string // read models made again; none: the service keeps none
	Events int64    // replayed
	Erased int64    // of these, that could not be read any more and were skipped
	Rows   int64    // that came of it
	// Snapshots is how many were dropped, or compared with a fold from the start; those of another codec
	// than the program's are dropped and not compared.
	Snapshots int64
	Differs   string // of a verification: the first row or snapshot that is not the same, or ""
}

const rebuildPage = 1000

// keptTables are the harness's own: they say what was done, not what is so.
func keptTables() []string {
	return []string{"positions", "parked", "effects", "migrations", "snapshots"}
}

// Rebuild makes the read models of a service that does not run again, in one transaction: their rows and
// all snapshots are dropped, and the records that the service had handled are handled again, in the order
// of their positions. Snapshots come back with use. What it has not handled yet it will, with all that
// follows from it, once it runs; what is parked stays parked. With verify the result is compared with what
// was there, row by row, each snapshot with a fold from the start, and the transaction is undone.
//
// Errors: Denied for a primary record, Conflict beside a live replica.
func (r *Runtime) Rebuild(ctx context.Context, verify bool) (res RebuildResult, err error) {
	const op = "service.rebuild"
	if why := r.def.Rebuild.Primary; why != "" {
		return res, fault.Newf(fault.Denied, op, "%s cannot be rebuilt: %s", r.def.Name, why)
	}
	conn, err := r.deps.DB.Acquire(ctx)
	if err != nil {
		return res, eventstore.Classify(op, err)
	}
	defer func() {
		c := conn.Hijack()
		_ = c.Close(context.WithoutCancel(ctx)) // the lock goes with the session
	}()
	if err := r.alone(ctx, conn); err != nil {
		return res, err
	}
	defer func() {
		_, _ = conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1, 0)", LiveKey(r.def.Name)) // or with the session
	}()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return res, eventstore.Classify(op, err)
	}
	defer func() {
		if rerr := tx.Rollback(context.WithoutCancel(ctx)); err == nil && !errors.Is(rerr, pgx.ErrTxClosed) {
			err = eventstore.Classify(op, rerr)
		}
	}()
	b := &rebuild{rt: r, tx: tx, verify: verify}
	if err := b.run(ctx, conn); err != nil {
		return b.res, err
	}
	if !verify {
		err = eventstore.Classify(op, tx.Commit(ctx))
	}
	return b.res, err
}

// aloneWait is how long a session may take to be gone after its process has ended.
const aloneWait = 2 * time.Second

// alone takes the lock that every running replica shares.
func (r *Runtime) alone(ctx context.Context, conn *pgxpool.Conn) error {
	const op = "service.rebuild"
	ok, err := within(ctx, func() (ok bool, err error) {
		err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, 0)", LiveKey(r.def.Name)).Scan(&ok)
		return ok, eventstore.Classify(op, err)
	})
	if err == nil && !ok {
		err = fault.Newf(fault.Conflict, op, "%s is running, or another rebuild of it is", r.def.Name).
			WithFix("stop the service first: its read models are written while it runs")
	}
	return err
}

// within tries until try says yes, for as long as a session may take to be gone after its process has ended.
func within(ctx context.Context, try func() (bool, error)) (bool, error) {
	for deadline := time.Now().Add(aloneWait); ; {
		ok, err := try()
		if err != nil || ok || time.Now().After(deadline) {
			return ok, err
		}
		if err := sleep(ctx, presenceRetry); err != nil {
			return false, fault.Wrap(fault.Canceled, "service.alone", "given up", err)
		}
	}
}

type rebuild struct {
	rt     *Runtime
	tx     pgx.Tx
	verify bool
	res    RebuildResult
}

func (b *rebuild) run(ctx context.Context, conn *pgxpool.Conn) error {
	const op = "service.rebuild"
	if err := b.snapshots(ctx); err != nil {
		return err
	}
	keep := append(keptTables(), b.rt.def.Rebuild.Keep...)
	rows, err := conn.Query(ctx, `SELECT relname::text FROM pg_class
		WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
		  AND NOT relname = ANY($1) ORDER BY 1`, keep)
	if err != nil {
		return eventstore.Classify(op, err)
	}
	if b.res.Tables, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return eventstore.Classify(op, err)
	}
	if len(b.res.Tables) == 0 {
		return nil
	}
	quoted := make([]string, len(b.res.Tables))
	for i, t := range b.res.Tables {
		quoted[i] = pgx.Identifier{t}.Sanitize()
	}
	if b.verify {
		for i := range quoted {
			if _, err := b.tx.Exec(ctx, fmt.Sprintf("CREATE TEMP TABLE %s ON COMMIT DROP AS TABLE %s", before(i), quoted[i])); err != nil {
				return eventstore.Classify(op, err)
			}
		}
	}
	// The lock that comes with it keeps out a replica that lost its session and does not know it yet.
	if _, err := b.tx.Exec(ctx, "TRUNCATE "+strings.Join(quoted, ", ")+" RESTART IDENTITY"); err != nil {
		return eventstore.Classify(op, err)
	}
	if err := b.replay(ctx); err != nil {
		return err
	}
	for i, t := range quoted {
		var n int64
		if err := b.tx.QueryRow(ctx, "SELECT count(*) FROM "+t).Scan(&n); err != nil {
			return eventstore.Classify(op, err)
		}
		b.res.Rows += n
		if b.verify && b.res.Differs == "" {
			if err := b.compare(ctx, b.res.Tables[i], before(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

const snapshotsPage = 100 // states may be large

// snapshots drops all snapshots, or compares each with what its events make.
func (b *rebuild) snapshots(ctx context.Context) error {
	const op = "service.rebuild"
	if !b.verify {
		tag, err := b.tx.Exec(ctx, "DELETE FROM snapshots")
		b.res.Snapshots = tag.RowsAffected()
		return eventstore.Classify(op, err)
	}
	fold := b.rt.def.Fold
	if fold == nil {
		return nil
	}
	for last := (snapshot{}); ; {
		rows, err := b.tx.Query(ctx, `SELECT tenant, stream, version, state FROM snapshots
			WHERE (tenant, stream) > ($1, $2) AND codec = $3 ORDER BY tenant, stream LIMIT $4`,
			last.tenant, last.stream, fold.codec(), snapshotsPage)
		if err != nil {
			return eventstore.Classify(op, err)
		}
		page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s snapshot, err error) {
			return s, row.Scan(&s.tenant, &s.stream, &s.version, &s.state)
		})
		if err != nil {
			return eventstore.Classify(op, err)
		}
		for _, s := range page {
			why, err := fold.differs(ctx, b.tx, b.rt.Decode, s)
			if err != nil {
				return err
			}
			if why != "" && b.res.Differs == "" {
				b.res.Differs = fmt.Sprintf("%s.snapshots: %s version %d: %s", b.rt.def.Name, s.stream, s.version, why)
			}
			last = s
		}
		b.res.Snapshots += int64(len(page))
		if len(page) < snapshotsPage {
			return nil
		}
	}
}

func before(i int) string { return fmt.Sprintf("pg_temp.rebuild_before_%d", i) }

const rebuildSQL = `SELECT e.pos, e.tenant, e.stream, e.version, e.event_id::text, e.kind, e.schema_version, e.time,
	e.correlation, e.causation, e.traceparent, e.data
	FROM eventstore.events e LEFT JOIN positions p USING (tenant, stream)
	WHERE e.pos > $1 AND split_part(e.stream, '/', 1) = ANY($2)
	  AND (split_part(e.stream, '/', 1) = $3 OR e.version <= p.version)
	  AND NOT EXISTS (SELECT 1 FROM parked k WHERE k.tenant = e.tenant AND k.stream = e.stream AND k.version = e.version)
	ORDER BY e.pos LIMIT $4`

// replay handles the records that the service had handled, and all of its own family, in pages.
func (b *rebuild) replay(ctx context.Context) error {
	families := b.rt.def.Rebuild.Families
	if families == nil {
		families = b.rt.def.Consumes
	}
	names := make([]string, len(families))
	for i, f := range families {
		names[i] = string(f)
	}
	before := b.rt.erased.Load()
	defer func() { b.res.Erased = b.rt.erased.Load() - before }()
	for after := int64(0); ; {
		recs, err := eventstore.Collect(ctx, b.tx, "service.rebuild", rebuildSQL, after, names, string(b.rt.def.Family), rebuildPage)
		if err != nil {
			return err
		}
		if err := b.page(ctx, recs); err != nil {
			return err
		}
		b.res.Events += int64(len(recs))
		if len(recs) < rebuildPage {
			return nil
		}
		after = recs[len(recs)-1].Position
	}
}

// page handles some records in one Unit whose statements go into the rebuild's transaction.
func (b *rebuild) page(ctx context.Context, recs []events.Record) error {
	const op = "service.rebuild"
	do := b.rt.def.Rebuild.Handle
	if do == nil {
		do = b.rt.def.Handle
	}
	u := newUnit(b.rt, 0, 0)
	u.tx = b.tx
	for i := range recs {
		in := b.rt.recordInput(&recs[i])
		if !b.rt.def.Raw {
			e, err := b.rt.Decode(recs[i])
			if erased(err) {
				continue
			}
			if err != nil {
				return fault.Wrap(fault.Invalid, op, fmt.Sprintf("the event at position %d cannot be read", recs[i].Position), err).
					WithFix("use a program at least as new as the one that wrote it")
			}
			in.Event = e
		}
		u.cur = in
		if err := do(ctx, u, in); err != nil {
			return fault.Wrap(fault.KindOf(err), op, fmt.Sprintf("the event at position %d cannot be handled again", recs[i].Position), err)
		}
	}
	p := &pgx.Batch{}
	u.queue(p, nil)
	if p.Len() > 0 {
		if err := b.tx.SendBatch(ctx, p).Close(); err != nil {
			return eventstore.Classify(op, err)
		}
	}
	for _, f := range u.commit {
		f()
	}
	return nil
}

// compare finds the first row, in the order of the table's key, that is not as it was. Rows are compared
// as the text Postgres writes for them, in which every type of ours is exact.
func (b *rebuild) compare(ctx context.Context, table, was string) error {
	const op = "service.rebuild"
	rows, err := b.tx.Query(ctx, `SELECT a.attname::text FROM pg_index i
		JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
		WHERE i.indrelid = $1::text::regclass AND i.indisprimary ORDER BY array_position(i.indkey::int2[], a.attnum)`,
		pgx.Identifier{table}.Sanitize())
	if err != nil {
		return eventstore.Classify(op, err)
	}
	key, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return eventstore.Classify(op, err)
	}
	if len(key) == 0 {
		return fault.Newf(fault.Internal, op, "table %s has no primary key to compare by", table)
	}
	for i, c := range key {
		key[i] = pgx.Identifier{c}.Sanitize()
	}
	cols := strings.Join(key, ", ")
	var old, now *string
	err = b.tx.QueryRow(ctx, fmt.Sprintf(`SELECT b::text, n::text FROM %s b FULL JOIN %s n USING (%s)
		WHERE b::text IS DISTINCT FROM n::text ORDER BY %s LIMIT 1`, was, pgx.Identifier{table}.Sanitize(), cols, cols)).Scan(&old, &now)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return eventstore.Classify(op, err)
	}
	b.res.Differs = fmt.Sprintf("%s.%s: live %s, rebuilt %s", b.rt.def.Name, table, rowText(old), rowText(now))
	return nil
}

func rowText(s *string) string {
	if s == nil {
		return "no such row"
	}
	return *s
}
