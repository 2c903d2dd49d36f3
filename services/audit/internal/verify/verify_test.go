package verify_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/services/audit/internal/audittest"
	"github.com/agentos-kernel/agentos/services/audit/internal/core"
	"github.com/agentos-kernel/agentos/services/audit/internal/signer"
	"github.com/agentos-kernel/agentos/services/audit/internal/store"
	"github.com/agentos-kernel/agentos/services/audit/internal/tree"
	"github.com/agentos-kernel/agentos/services/audit/internal/verify"
)

// world is a log of 50 entries under five heads.
type world struct {
	*audittest.Env
	key  *signer.Key
	recs []events.Record // by index
}

func newWorld(t *testing.T) *world {
	t.Helper()
	key, err := signer.Open(filepath.Join(t.TempDir(), "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Env: audittest.New(t), key: key}
	for range 5 {
		w.grow(t, 10)
	}
	return w
}

// grow appends n entries and signs a head.
func (w *world) grow(t *testing.T, n int) {
	t.Helper()
	recs := w.Write(t, n)
	w.Log(t, recs)
	w.recs = append(w.recs, recs...)
	w.sign(t)
}

func (w *world) sign(t *testing.T) store.Head {
	t.Helper()
	head, _, err := store.Sign(t.Context(), w.Audit, w.key.Sign)
	if err != nil {
		t.Fatal(err)
	}
	return head
}

func (w *world) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := w.Admin.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) verify(t *testing.T) verify.Report {
	t.Helper()
	r, err := verify.Run(t.Context(), w.Audit, w.key.Verifiers())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGoodLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var f tree.Frontier
	for i := range w.recs {
		f.Add(core.Leaf(&w.recs[i]))
	}
	want := verify.Report{OK: true, Size: 50, Checked: 50, Heads: 5, Root: f.Root()}
	if diff := cmp.Diff(want, w.verify(t)); diff != "" {
		t.Error(diff)
	}
}

func TestEmptyLog(t *testing.T) {
	t.Parallel()
	key, err := signer.Open(filepath.Join(t.TempDir(), "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Env: audittest.New(t), key: key}
	if diff := cmp.Diff(verify.Report{OK: true}, w.verify(t)); diff != "" {
		t.Error(diff)
	}
}

// Somebody with the superuser's rights changes the log or the event store; the first bad entry is named.
func TestTampering(t *testing.T) {
	t.Parallel()
	const flip = `set_byte(%s, length(%s) - 3, get_byte(%s, length(%s) - 3) # 1)`
	flipped := func(column string) string { return strings.ReplaceAll(flip, "%s", column) }
	for _, c := range []struct {
		name   string
		sql    string
		index  int64
		reason string
		noID   bool // the entry is gone, or more than one is meant
	}{
		{"flip a byte in a leaf", `UPDATE audit.leaves SET leaf = ` + flipped("leaf") + ` WHERE idx = 23`, 23, "does not hash", false},
		{"delete a row", `DELETE FROM audit.leaves WHERE idx = 17`, 17, "is missing", true},
		{
			"swap two", `UPDATE audit.leaves a SET leaf = b.leaf FROM audit.leaves b
				WHERE (a.idx, b.idx) IN ((11, 31), (31, 11))`, 11, "does not hash", false,
		},
		{"edit an event row", `UPDATE eventstore.events SET data = ` + flipped("data") + ` WHERE event_id = '{id:42}'`, 42, "data of llm/", false},
		{"edit an event's envelope", `UPDATE eventstore.events SET causation = 'x', kind = 'llm.x' WHERE event_id = '{id:8}'`, 8, "kind, causation of llm/", false},
		{"delete an event row", `DELETE FROM eventstore.events WHERE event_id = '{id:9}'`, 9, "no event llm/", false},
		{"relabel an entry", `UPDATE audit.leaves SET version = 99 WHERE idx = 12`, 12, "columns do not belong", false},
		{"change a tree node", fmt.Sprintf(`UPDATE audit.hashes SET hash = sha256(hash) WHERE idx = %d`, tlog.StoredHashIndex(3, 1)), 15, "does not hash", false},
		{"add a tree node", `INSERT INTO audit.hashes VALUES (999999, 'x')`, 50, "nodes instead of", true},
		{"cut the end", `DELETE FROM audit.leaves WHERE idx >= 47`, 47, "its end is missing", true},
		{"forge a head", `UPDATE audit.heads SET root = sha256(root) WHERE size = 20`, 19, "differs from what was signed", false},
		{"forge a note", `UPDATE audit.heads SET note = replace(note, '— agentos/audit ', '— agentos/audit A') WHERE size = 30`, 29, "is not signed", false},
		{"move a head", `UPDATE audit.heads SET size = 35 WHERE size = 30`, 34, "differs from what was signed", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			want := verify.Bad{Index: c.index}
			if !c.noID {
				want.EventID = w.recs[c.index].ID
			}
			sql := strings.ReplaceAll(c.sql, fmt.Sprintf("{id:%d}", c.index), want.EventID)
			w.exec(t, sql)
			r := w.verify(t)
			if r.OK || r.FirstBad == nil {
				t.Fatalf("not found: %+v", r)
			}
			got := *r.FirstBad
			if !strings.Contains(got.Reason, c.reason) {
				t.Errorf("reason %q, want something with %q", got.Reason, c.reason)
			}
			got.Reason = ""
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if r.Checked != min(c.index, 50) {
				t.Errorf("%d entries checked before entry %d", r.Checked, c.index)
			}
		})
	}
}

// A change made everywhere, in leaf, tree and event store, still does not fit what was signed.
func TestConsistentRewriteIsBelowASignedHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	forged := w.recs[33]
	forged.Data = []byte(`{"reason":"forged"}`)
	w.exec(t, `UPDATE eventstore.events SET data = $1 WHERE event_id = $2`, forged.Data, forged.ID)
	w.exec(t, `UPDATE audit.leaves SET leaf = $1 WHERE idx = 33`, core.Leaf(&forged))
	w.exec(t, `DELETE FROM audit.hashes`)
	var f tree.Frontier
	for i := range w.recs {
		r := w.recs[i]
		if i == 33 {
			r = forged
		}
		first := tlog.StoredHashIndex(0, int64(i))
		for k, node := range f.Add(core.Leaf(&r)) {
			w.exec(t, `INSERT INTO audit.hashes VALUES ($1, $2)`, first+int64(k), node[:])
		}
	}
	r := w.verify(t)
	if r.FirstBad == nil || r.FirstBad.Index != 30 || !strings.Contains(r.FirstBad.Reason, "entries 30 to 39") {
		t.Errorf("got %+v", r.FirstBad)
	}
}

// What the holder of the key does passes a self-check by design; a head kept elsewhere shows it.
func TestOperatorWithTheKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, sql string }{
		{"truncate the tail and sign again", `DELETE FROM audit.leaves WHERE idx >= 40; DELETE FROM audit.heads WHERE size > 40;
			DELETE FROM audit.hashes WHERE idx >= 78; DELETE FROM eventstore.events WHERE pos > (SELECT pos FROM eventstore.events ORDER BY pos OFFSET 39 LIMIT 1)`},
		{"replay an old head", `DELETE FROM audit.heads WHERE size > 40`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			kept := w.sign(t)
			w.exec(t, c.sql)
			if r := w.verify(t); !r.OK {
				t.Fatalf("the self-check fails: %+v", r.FirstBad)
			}
			if now, err := store.Newest(t.Context(), w.Audit); err != nil || now.Size >= kept.Size {
				t.Errorf("newest head %d, %v; the one kept has %d", now.Size, err, kept.Size)
			}
		})
	}
}

// An event on its way is pending; one the service has passed over, or that is too old, is bad.
func TestMissingEvents(t *testing.T) {
	t.Parallel()
	position := `INSERT INTO audit.positions SELECT tenant, stream, version FROM eventstore.events WHERE event_id = '{id}'`
	parked := `; INSERT INTO audit.parked SELECT tenant, stream, version, kind, 'unknown kind' FROM eventstore.events WHERE event_id = '{id}'`
	for _, c := range []struct{ name, sql, reason string }{
		{"on its way", ``, ""},
		{"passed over", position, "is in the event store and not in the log"},
		{"set aside", position + parked, "was set aside and is not in the log: unknown kind"},
		{"too old", `UPDATE eventstore.events SET time = now() - interval '10 minutes' WHERE event_id = '{id}'`, "has not reached the log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			late := w.Write(t, 1)[0]
			w.exec(t, strings.ReplaceAll(c.sql, "{id}", late.ID))
			r := w.verify(t)
			if c.reason == "" {
				if !r.OK || r.Pending != 1 {
					t.Errorf("got %+v", r)
				}
				return
			}
			if r.OK || r.FirstBad == nil || r.FirstBad.EventID != late.ID || r.FirstBad.Index != 50 ||
				!strings.Contains(r.FirstBad.Reason, c.reason) {
				t.Errorf("got %+v", r.FirstBad)
			}
		})
	}
}

// Another key's signatures do not count.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other, err := signer.Open(filepath.Join(t.TempDir(), "other.key"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := verify.Run(t.Context(), w.Audit, other.Verifiers())
	if err != nil || r.OK || r.FirstBad.Index != 9 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// Every entry under a head can be proven, and the proof can be checked from its text alone.
func TestProofs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range w.recs {
		index, leaf, err := store.Find(t.Context(), w.Audit, events.DefaultTenant, w.recs[i].ID)
		if err != nil || index != int64(i) {
			t.Fatalf("entry %d found at %d, %v", i, index, err)
		}
		proof, _, err := store.Prove(t.Context(), w.Audit, index)
		if err != nil {
			t.Fatal(err)
		}
		back, err := tree.ParseProof(proof.Text())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(proof, back); diff != "" {
			t.Fatal(diff)
		}
		if err := back.Check(leaf, w.key.Verifiers()); err != nil {
			t.Error(err)
		}
		leaf[len(leaf)-3] ^= 1
		if back.Check(leaf, w.key.Verifiers()) == nil {
			t.Errorf("a changed leaf %d passes", i)
		}
	}
}
