// Package verify reads the whole audit log again and finds the first entry that does not fit.
//
// It trusts nothing but the public key: every leaf is hashed again, the whole tree and every signed head
// are computed from the leaves, and each leaf is compared with the event it stands for. It cannot see a
// history that was cut short or rewritten by somebody who also holds the signing key; for that a head
// kept elsewhere is needed (see the audit.head_signed events).
package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/audit/internal/core"
	"github.com/agentos-kernel/agentos/services/audit/internal/store"
	"github.com/agentos-kernel/agentos/services/audit/internal/tree"
)

// Report is what a verification found.
type Report struct {
	OK       bool
	Size     int64     // entries in the log
	Checked  int64     // entries read and found good
	Heads    int64     // signed heads checked
	Root     tlog.Hash // computed from the entries read
	Pending  int64     // events on their way into the log
	FirstBad *Bad      // nil when OK
}

// Bad is the first entry that does not fit.
type Bad struct {
	Index   int64  // place in the log; the log's size for an event that should be there and is not
	EventID string // may be empty when the entry is gone
	Reason  string
}

const (
	pageSize = 1000
	headPage = 500
	// MaxLag is how old an event may be that the audit service has not read yet.
	MaxLag = time.Minute
)

// Run verifies the log as it is at one moment: everything is read from one snapshot. An error means that
// the log could not be read; what is wrong with the log is in the report.
func Run(ctx context.Context, db *pgxpool.Pool, keys note.Verifiers) (Report, error) {
	v := verifier{keys: keys}
	err := pgx.BeginTxFunc(ctx, db, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly},
		func(tx pgx.Tx) error {
			v.db = tx
			return v.run(ctx)
		})
	var f *fault.Error
	if err != nil && !errors.As(err, &f) {
		err = eventstore.Classify("audit.verify", err)
	}
	v.report.OK = err == nil && v.report.FirstBad == nil
	return v.report, err
}

type verifier struct {
	db     pgx.Tx
	keys   note.Verifiers
	tree   tree.Frontier
	heads  []store.Head // not yet reached, by size
	last   int64        // size of the newest head checked
	more   bool         // there may be heads behind heads
	report Report
}

// bad notes the first entry that does not fit; later ones are not looked for.
func (v *verifier) bad(index int64, eventID, format string, args ...any) {
	v.report.FirstBad = &Bad{Index: index, EventID: eventID, Reason: fmt.Sprintf(format, args...)}
}

func (v *verifier) run(ctx context.Context) error {
	var rows, hashes int64
	err := v.db.QueryRow(ctx, `SELECT (SELECT count(*) FROM audit.leaves), (SELECT count(*) FROM audit.hashes)`).
		Scan(&rows, &hashes)
	if err != nil {
		return eventstore.Classify("audit.verify", err)
	}
	if v.report.Size, err = store.Size(ctx, v.db); err != nil {
		return err
	}
	v.more = true
	if err := v.nextHeads(ctx); err != nil {
		return err
	}
	for v.tree.Size() < v.report.Size && v.report.FirstBad == nil {
		if err := v.page(ctx); err != nil {
			return err
		}
	}
	v.report.Root = v.tree.Root()
	if v.report.FirstBad != nil {
		return nil
	}
	switch want := tlog.StoredHashIndex(0, v.report.Size); {
	case len(v.heads) > 0:
		v.bad(v.report.Size, "", "a signed head counts %d entries, the log has %d: its end is missing", v.heads[0].Size, v.report.Size)
	case rows != v.report.Size:
		v.bad(v.report.Size, "", "there are %d entries that are not in the log's order", rows-v.report.Size)
	case hashes != want:
		v.bad(v.report.Size, "", "the hash tree has %d nodes instead of %d", hashes, want)
	default:
		return v.missing(ctx)
	}
	return nil
}

// nextHeads reads the next page of heads once the one before is used up.
func (v *verifier) nextHeads(ctx context.Context) error {
	if len(v.heads) > 0 || !v.more {
		return nil
	}
	heads, err := store.Heads(ctx, v.db, v.last+1, headPage)
	v.heads, v.more = heads, len(heads) == headPage
	return err
}

const pageSQL = `SELECT l.idx, l.tenant, l.stream, l.version, l.event_id::text, l.leaf, e.pos IS NOT NULL,
	coalesce(e.pos, 0), coalesce(e.event_id::text, ''), coalesce(e.kind, ''), coalesce(e.schema_version, 0),
	coalesce(e.time, 'epoch'), coalesce(e.correlation, ''), coalesce(e.causation, ''), coalesce(e.traceparent, ''),
	coalesce(e.data, '')
	FROM audit.leaves l LEFT JOIN eventstore.events e USING (tenant, stream, version)
	WHERE l.idx >= $1 AND l.idx < $2 ORDER BY l.idx`

type entry struct {
	index   int64
	eventID string
	leaf    []byte
	row     events.Record // as the columns beside the leaf say
	stored  bool          // the event store has the event
	event   events.Record
}

// page checks the next pageSize entries.
func (v *verifier) page(ctx context.Context) error {
	from := v.tree.Size()
	to := min(from+pageSize, v.report.Size)
	entries, err := v.entries(ctx, from, to)
	if err != nil {
		return err
	}
	first := tlog.StoredHashIndex(0, from)
	hashes, err := v.hashes(ctx, first, tlog.StoredHashIndex(0, to))
	if err != nil {
		return err
	}
	for i := from; i < to; i++ {
		if len(entries) == 0 || entries[0].index != i {
			v.bad(i, "", "the entry is missing")
			return nil
		}
		e := entries[0]
		entries = entries[1:]
		for k, node := range v.tree.Add(e.leaf) {
			if stored, ok := hashes[tlog.StoredHashIndex(0, i)+int64(k)]; !ok || !bytes.Equal(stored, node[:]) {
				v.bad(i, e.eventID, "the entry does not hash to what the tree holds for it")
				return nil
			}
		}
		if reason := e.check(); reason != "" {
			v.bad(i, e.eventID, "%s", reason)
			return nil
		}
		if err := v.head(ctx, e.eventID); err != nil || v.report.FirstBad != nil {
			return err
		}
		v.report.Checked++
	}
	return nil
}

func (v *verifier) entries(ctx context.Context, from, to int64) ([]entry, error) {
	rows, err := v.db.Query(ctx, pageSQL, from, to)
	if err != nil {
		return nil, eventstore.Classify("audit.verify", err)
	}
	entries, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (entry, error) {
		var e entry
		err := row.Scan(&e.index, &e.row.Tenant, &e.row.Stream, &e.row.StreamVersion, &e.eventID, &e.leaf, &e.stored,
			&e.event.Position, &e.event.ID, &e.event.Kind, &e.event.SchemaVersion, &e.event.Time,
			&e.event.Correlation, &e.event.Causation, &e.event.TraceParent, &e.event.Data)
		e.event.Tenant, e.event.Stream, e.event.StreamVersion = e.row.Tenant, e.row.Stream, e.row.StreamVersion
		return e, err
	})
	return entries, eventstore.Classify("audit.verify", err)
}

func (v *verifier) hashes(ctx context.Context, from, to int64) (map[int64][]byte, error) {
	rows, err := v.db.Query(ctx, `SELECT idx, hash FROM audit.hashes WHERE idx >= $1 AND idx < $2`, from, to)
	if err != nil {
		return nil, eventstore.Classify("audit.verify", err)
	}
	defer rows.Close()
	out := make(map[int64][]byte, to-from)
	for rows.Next() {
		var index int64
		var hash []byte
		if err := rows.Scan(&index, &hash); err != nil {
			return nil, eventstore.Classify("audit.verify", err)
		}
		out[index] = hash
	}
	return out, eventstore.Classify("audit.verify", rows.Err())
}

// check compares the leaf with the columns beside it and with the event store.
func (e *entry) check() string {
	rec, err := core.ParseLeaf(e.leaf)
	if err != nil {
		return "the entry cannot be read: " + err.Error()
	}
	if rec.Tenant != e.row.Tenant || rec.Stream != e.row.Stream || rec.StreamVersion != e.row.StreamVersion || rec.ID != e.eventID {
		return "the entry's columns do not belong to its bytes"
	}
	if !e.stored {
		return fmt.Sprintf("the event store has no event %s version %d any more", rec.Stream, rec.StreamVersion)
	}
	if !bytes.Equal(core.Leaf(&e.event), e.leaf) {
		return fmt.Sprintf("the event store was changed: %s of %s version %d differs",
			strings.Join(core.Differing(&rec, &e.event), ", "), rec.Stream, rec.StreamVersion)
	}
	return ""
}

// head checks the signed head that ends with the entry just read, if there is one.
func (v *verifier) head(ctx context.Context, eventID string) error {
	if len(v.heads) == 0 || v.heads[0].Size != v.tree.Size() {
		return nil
	}
	h := v.heads[0]
	v.heads = v.heads[1:]
	index := h.Size - 1
	size, root, reason := v.open(h)
	switch {
	case reason != "":
		v.bad(index, eventID, "the head over %d entries %s", h.Size, reason)
	case size != h.Size || root != h.Root:
		v.bad(index, eventID, "the head over %d entries differs from what was signed", h.Size)
	case root != v.tree.Root():
		v.bad(v.last, "", "the entries %d to %d are not those that were signed", v.last, index)
	default:
		v.last = h.Size
		v.report.Heads++
		return v.nextHeads(ctx)
	}
	return nil
}

// open verifies a head's signature and reads what was signed; reason says why it cannot.
func (v *verifier) open(h store.Head) (size int64, root tlog.Hash, reason string) {
	signed, err := note.Open([]byte(h.Note), v.keys)
	if err != nil {
		return 0, tlog.Hash{}, "is not signed by this log's key"
	}
	if size, root, err = tree.ParseHead(signed.Text); err != nil {
		return 0, tlog.Hash{}, "cannot be read"
	}
	return size, root, ""
}
