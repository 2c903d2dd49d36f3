package signer_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/audit/internal/signer"
)

// Programs that start together on no key end with one key, which only its owner can read.
func TestOpenMakesOneKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sub", "audit.key")
	keys := make([]string, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, err := signer.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = k.VerifierKey()
		})
	}
	wg.Wait()
	for _, k := range keys[1:] {
		if k != keys[0] {
			t.Errorf("two keys: %s and %s", keys[0], k)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	rest, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".audit-key-*"))
	if err != nil || len(rest) != 0 {
		t.Errorf("left behind: %v %v", rest, err)
	}
}

func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	k, err := signer.Open(filepath.Join(t.TempDir(), "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := k.Sign("agentos/audit\n1\nx\n")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signer.ParseVerifier(k.VerifierKey() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(signed), keys)
	if err != nil || n.Text != "agentos/audit\n1\nx\n" {
		t.Errorf("got %+v, %v", n, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if _, err := signer.Open(good); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		kind          fault.Kind
	}{
		{"open to all", string(data), 0o644, fault.Denied},
		{"empty", "", 0o600, fault.Invalid},
		{"one line", "PRIVATE+KEY+agentos/audit+0+x", 0o600, fault.Invalid},
		{"garbage", "a\nb\n", 0o600, fault.Invalid},
	} {
		path := filepath.Join(dir, c.name)
		if err := os.WriteFile(path, []byte(c.content), c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := signer.Open(path); !fault.Is(err, c.kind) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.kind)
		}
	}
	if _, err := signer.Open(""); !fault.Is(err, fault.Invalid) {
		t.Errorf("no file: got %v", err)
	}
	if _, err := signer.ParseVerifier("x"); !fault.Is(err, fault.Invalid) {
		t.Errorf("no verifier: got %v", err)
	}
}
