// Package store is the audit log's SQL.
package store

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/audit/internal/core"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the tables of the log, in order of their names.
func Migrations() (fs.FS, error) { return fs.Sub(migrations, "migrations") }

// Batch is the records that one transaction appends, as columns.
type Batch struct {
	tenant, stream, id []string
	version            []int64
	leaf               [][]byte
}

// Add puts a record into the batch.
func (b *Batch) Add(r *events.Record) {
	b.tenant = append(b.tenant, r.Tenant)
	b.stream = append(b.stream, r.Stream)
	b.version = append(b.version, r.StreamVersion)
	b.id = append(b.id, r.ID)
	b.leaf = append(b.leaf, core.Leaf(r))
}

// Statement is the one statement that appends the whole batch.
func (b *Batch) Statement() (sql string, args []any) {
	return `SELECT audit.append_leaves($1, $2, $3, $4::text[]::uuid[], $5)`,
		[]any{b.tenant, b.stream, b.version, b.id, b.leaf}
}

// Head is a signed head as stored.
type Head struct {
	Size int64
	Root tlog.Hash
	Note string
	At   time.Time
}

// Size is the number of leaves.
func Size(ctx context.Context, q eventstore.Querier) (int64, error) {
	var n int64
	err := q.QueryRow(ctx, `SELECT coalesce(max(idx) + 1, 0) FROM audit.leaves`).Scan(&n)
	return n, eventstore.Classify("audit.size", err)
}

// Newest is the head with the most leaves; the zero Head before the first.
func Newest(ctx context.Context, q eventstore.Querier) (Head, error) {
	var h Head
	var root []byte
	err := q.QueryRow(ctx, `SELECT size, root, note, at FROM audit.heads ORDER BY size DESC LIMIT 1`).
		Scan(&h.Size, &root, &h.Note, &h.At)
	if errors.Is(err, pgx.ErrNoRows) {
		return Head{}, nil
	}
	copy(h.Root[:], root)
	return h, eventstore.Classify("audit.newest_head", err)
}

// Heads is up to limit heads with size >= from, by size.
func Heads(ctx context.Context, q eventstore.Querier, from int64, limit int) ([]Head, error) {
	rows, err := q.Query(ctx, `SELECT size, root, note, at FROM audit.heads WHERE size >= $1 ORDER BY size LIMIT $2`, from, limit)
	if err != nil {
		return nil, eventstore.Classify("audit.heads", err)
	}
	heads, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Head, error) {
		var h Head
		var root []byte
		err := row.Scan(&h.Size, &root, &h.Note, &h.At)
		copy(h.Root[:], root)
		return h, err
	})
	return heads, eventstore.Classify("audit.heads", err)
}

// Execer runs a statement: a pool, a connection or a transaction.
type Execer interface {
	eventstore.Querier
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// InsertHead stores a head. Another replica may have stored the same one.
func InsertHead(ctx context.Context, db Execer, h Head) error {
	var b pgx.Batch
	b.Queue(`INSERT INTO audit.heads (size, root, note) VALUES ($1, $2, $3) ON CONFLICT (size) DO NOTHING`,
		h.Size, h.Root[:], h.Note)
	return eventstore.Classify("audit.insert_head", db.SendBatch(ctx, &b).Close())
}

// Find is the place and the bytes of an event's leaf; fault.NotFound when it is not in the log.
func Find(ctx context.Context, q eventstore.Querier, tenant, eventID string) (int64, []byte, error) {
	const op = "audit.find"
	var index int64
	var leaf []byte
	err := q.QueryRow(ctx, `SELECT idx, leaf FROM audit.leaves WHERE event_id = $1::text::uuid AND tenant = $2`, eventID, tenant).
		Scan(&index, &leaf)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil, fault.New(fault.NotFound, op, "no such event is in the audit log").
			WithFix("an event written a moment ago arrives within seconds; audit events are not in the log themselves")
	}
	return index, leaf, eventstore.Classify(op, err)
}

// Hashes reads stored hashes for tlog.
func Hashes(ctx context.Context, q eventstore.Querier) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		const op = "audit.hashes"
		rows, err := q.Query(ctx, `SELECT h.idx, h.hash FROM audit.hashes h WHERE h.idx = ANY($1)`, indexes)
		if err != nil {
			return nil, eventstore.Classify(op, err)
		}
		defer rows.Close()
		found := make(map[int64]tlog.Hash, len(indexes))
		for rows.Next() {
			var index int64
			var hash []byte
			if err := rows.Scan(&index, &hash); err != nil {
				return nil, eventstore.Classify(op, err)
			}
			if len(hash) == tlog.HashSize { // another length was not written by us: as good as missing
				found[index] = tlog.Hash(hash)
			}
		}
		if err := rows.Err(); err != nil {
			return nil, eventstore.Classify(op, err)
		}
		out := make([]tlog.Hash, len(indexes))
		for i, want := range indexes {
			h, ok := found[want]
			if !ok {
				return nil, fault.Newf(fault.Internal, op, "hash %d of the audit log is missing", want).
					WithFix("run `agentos audit verify` and restore the database from a backup")
			}
			out[i] = h
		}
		return out, nil
	})
}
