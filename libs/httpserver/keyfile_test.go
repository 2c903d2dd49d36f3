package httpserver_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
)

func TestEnsureKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "home", "api.key")
	key, err := httpserver.EnsureKeyFile(path)
	if err != nil || len(key) != 64 {
		t.Fatalf("key of %d characters, %v", len(key), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if again, err := httpserver.EnsureKeyFile(path); again != key || err != nil {
		t.Errorf("second call gives another key, %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestEnsureKeyFileTogether(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "api.key")
	keys := make([]string, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			key, err := httpserver.EnsureKeyFile(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	wg.Wait()
	for _, key := range keys {
		if key != keys[0] {
			t.Fatal("two callers have two keys")
		}
	}
}

func TestEnsureKeyFileRefuses(t *testing.T) {
	t.Parallel()
	good := "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
	for name, tc := range map[string]struct {
		content string
		mode    os.FileMode
		kind    fault.Kind
	}{
		"readable by others":    {good, 0o644, fault.Denied},
		"readable by the group": {good, 0o640, fault.Denied},
		"no key":                {"hello\n", 0o600, fault.Invalid},
		"short key":             {"0011\n", 0o600, fault.Invalid},
		"empty":                 {"", 0o600, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "api.key")
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := httpserver.EnsureKeyFile(path); !fault.Is(err, tc.kind) || fault.FixOf(err) == "" {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("symbolic link", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "api.key")); err != nil {
			t.Fatal(err)
		}
		if _, err := httpserver.EnsureKeyFile(filepath.Join(dir, "api.key")); !fault.Is(err, fault.Denied) {
			t.Errorf("error %v", err)
		}
	})
}
