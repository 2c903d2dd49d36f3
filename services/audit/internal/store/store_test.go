package store_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/audit/internal/audittest"
	"github.com/agentos-kernel/agentos/services/audit/internal/core"
	"github.com/agentos-kernel/agentos/services/audit/internal/store"
	"github.com/agentos-kernel/agentos/services/audit/internal/tree"
)

// memory is the reference: tlog's own log in memory.
type memory struct {
	size   int64
	hashes []tlog.Hash
}

func (m *memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = m.hashes[x]
	}
	return out, nil
}

func (m *memory) add(t rapid.TB, leaf []byte) {
	hashes, err := tlog.StoredHashes(m.size, leaf, m)
	if err != nil {
		t.Fatal(err)
	}
	m.hashes = append(m.hashes, hashes...)
	m.size++
}

func stored(t *testing.T, e *audittest.Env) []tlog.Hash {
	t.Helper()
	rows, err := e.Admin.Query(t.Context(), `SELECT hash FROM audit.hashes ORDER BY idx`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []tlog.Hash
	for rows.Next() {
		var h []byte
		if err := rows.Scan(&h); err != nil {
			t.Fatal(err)
		}
		out = append(out, tlog.Hash(h))
	}
	return out
}

// Whatever the batches, the SQL function stores the nodes that tlog stores, under the same numbers; the
// frontier and the signed roots agree; and a batch given twice changes nothing.
func TestAppendEqualsTlog(t *testing.T) {
	t.Parallel()
	e := audittest.New(t)
	var ref memory
	var front tree.Frontier
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(1, 9), rapid.IntRange(1, 70)).Draw(rt, "batch")
		recs := e.Write(t, n)
		e.Log(t, recs)
		if rapid.Bool().Draw(rt, "again") {
			e.Log(t, recs)
		}
		for i := range recs {
			leaf := core.Leaf(&recs[i])
			ref.add(rt, leaf)
			front.Add(leaf)
		}
		want, err := tlog.TreeHash(ref.size, &ref)
		if err != nil {
			rt.Fatal(err)
		}
		head, fresh, err := store.Sign(t.Context(), e.Audit, func(text string) (string, error) { return text, nil })
		if err != nil || !fresh {
			rt.Fatalf("sign: new %v, %v", fresh, err)
		}
		if head.Size != ref.size || head.Root != want || front.Root() != want {
			rt.Fatalf("size %d root %v, frontier %v; want %d %v", head.Size, head.Root, front.Root(), ref.size, want)
		}
	})
	if diff := cmp.Diff(ref.hashes, stored(t, e)); diff != "" {
		t.Error(diff)
	}
}

// Shards append at the same time; the log is still one sequence.
func TestAppendsFromManyShards(t *testing.T) {
	t.Parallel()
	e := audittest.New(t)
	const writers, rounds, each = 4, 10, 13
	recs := e.Write(t, writers*rounds*each)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for r := range rounds {
				from := (w*rounds + r) * each
				e.Log(t, recs[from:from+each])
			}
		})
	}
	wg.Wait()
	rows, err := e.Admin.Query(t.Context(), `SELECT leaf FROM audit.leaves ORDER BY idx`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var ref memory
	for rows.Next() {
		var leaf []byte
		if err := rows.Scan(&leaf); err != nil {
			t.Fatal(err)
		}
		ref.add(t, leaf)
	}
	if ref.size != writers*rounds*each {
		t.Errorf("%d leaves, want %d", ref.size, writers*rounds*each)
	}
	if diff := cmp.Diff(ref.hashes, stored(t, e)); diff != "" {
		t.Error(diff)
	}
}

func TestStoredIndex(t *testing.T) {
	t.Parallel()
	e := audittest.New(t)
	for level := range 20 {
		for _, n := range []int64{0, 1, 2, 3, 7, 8, 1000, 123456789} {
			var got int64
			if err := e.Admin.QueryRow(t.Context(), `SELECT audit.stored_index($1, $2)`, level, n).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if want := tlog.StoredHashIndex(level, n); got != want {
				t.Errorf("stored_index(%d, %d) = %d, want %d", level, n, got, want)
			}
		}
	}
}

// A log that lost its end, or whose nodes were changed, is not signed again.
func TestSignRefusesForks(t *testing.T) {
	t.Parallel()
	plain := func(text string) (string, error) { return text, nil }
	for name, damage := range map[string]string{
		"cut":     `DELETE FROM audit.leaves WHERE idx >= 15`,
		"changed": `UPDATE audit.hashes SET hash = sha256(hash)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := audittest.New(t)
			e.Log(t, e.Write(t, 20))
			if _, _, err := store.Sign(t.Context(), e.Audit, plain); err != nil {
				t.Fatal(err)
			}
			if name == "changed" {
				e.Log(t, e.Write(t, 3))
			}
			if _, err := e.Admin.Exec(t.Context(), damage); err != nil {
				t.Fatal(err)
			}
			if _, _, err := store.Sign(t.Context(), e.Audit, plain); !fault.Is(err, fault.Internal) {
				t.Errorf("got %v, want an internal fault", err)
			}
		})
	}
}

// A proof of tenant A is not given to tenant B.
func TestFindKeepsTenantsApart(t *testing.T) {
	t.Parallel()
	e := audittest.New(t)
	recs := e.Write(t, 3)
	e.Log(t, recs)
	if _, _, err := store.Find(t.Context(), e.Audit, events.DefaultTenant, recs[1].ID); err != nil {
		t.Error(err)
	}
	if _, _, err := store.Find(t.Context(), e.Audit, "other", recs[1].ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v, want not found", err)
	}
}
