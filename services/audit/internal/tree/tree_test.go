package tree_test

import (
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/agentos-kernel/agentos/services/audit/internal/tree"
)

// The frontier gives tlog's nodes and roots at every size.
func TestFrontier(t *testing.T) {
	t.Parallel()
	var f tree.Frontier
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for n := range int64(200) {
		leaf := fmt.Appendf(nil, "leaf %d", n)
		want, err := tlog.StoredHashes(n, leaf, reader)
		if err != nil {
			t.Fatal(err)
		}
		got := f.Add(leaf)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("nodes of leaf %d differ", n)
		}
		stored = append(stored, want...)
		root, err := tlog.TreeHash(n+1, reader)
		if err != nil || f.Root() != root || f.Size() != n+1 {
			t.Fatalf("root at %d: %v, want %v, %v", n+1, f.Root(), root, err)
		}
	}
}

func TestHeadText(t *testing.T) {
	t.Parallel()
	root := tlog.RecordHash([]byte("x"))
	size, back, err := tree.ParseHead(tree.HeadText(42, root))
	if err != nil || size != 42 || back != root {
		t.Errorf("got %d %v, %v", size, back, err)
	}
	for _, bad := range []string{
		"", "agentos/audit\n42\n", "other\n42\n" + root.String() + "\n", "agentos/audit\n042\n" + root.String() + "\n",
		"agentos/audit\n-1\n" + root.String() + "\n", tree.HeadText(42, root) + "x\n", "agentos/audit\n42\nAAAA\n",
	} {
		if _, _, err := tree.ParseHead(bad); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

// FuzzParseProof: what is accepted without extra data is written back the same.
func FuzzParseProof(f *testing.F) {
	h := tlog.RecordHash([]byte("x"))
	f.Add(tree.Proof{Index: 3, Hashes: tlog.RecordProof{h, h}, Note: tree.HeadText(9, h) + "\n— x y\n"}.Text())
	f.Add("c2sp.org/tlog-proof@v1\nextra YQ==\nindex 0\n\nnote")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := tree.ParseProof(text)
		if err != nil {
			return
		}
		again, err := tree.ParseProof(p.Text())
		if err != nil || again.Text() != p.Text() {
			t.Fatalf("%q is written as %q: %v", text, p.Text(), err)
		}
	})
}
