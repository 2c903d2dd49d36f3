package doctor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func ready(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

// only is the one check of a list, without its detail.
func only(t *testing.T, checks []Check) (Status, string) {
	t.Helper()
	if len(checks) != 1 {
		t.Fatalf("checks %+v", checks)
	}
	c := checks[0]
	if c.Detail == "" || (c.Status == OK) != (c.Fix == "") {
		t.Errorf("a check must have a detail, and a fix unless it is ok: %+v", c)
	}
	return c.Status, c.Detail
}

func TestFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open, closed := filepath.Join(dir, "open"), filepath.Join(dir, "closed")
	for path, mode := range map[string]os.FileMode{open: 0o755, closed: 0o700} {
		if err := os.Mkdir(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]Status{closed: OK, open: Warn, filepath.Join(dir, "new", "deep"): OK, file: Fail} {
		if got, detail := only(t, folder(t.Context(), Config{Home: path})); got != want {
			t.Errorf("%s: %s, %s", path, got, detail)
		}
	}
	if entries, _ := os.ReadDir(closed); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestKernel(t *testing.T) {
	t.Parallel()
	for want, err := range map[Status]error{
		OK:   nil,
		Warn: fault.New(fault.Unavailable, "x", "refused").WithFix(client.FixStart),
		Fail: fault.New(fault.Unavailable, "x", "the broker is away").WithFix("wait"),
	} {
		if got, detail := only(t, kernel(t.Context(), Config{Ready: ready(err)})); got != want {
			t.Errorf("%v: %s, %s", err, got, detail)
		}
	}
}

func TestPort(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	held := l.Addr().String()
	down := ready(errors.New("down"))
	for _, tc := range []struct {
		addr string
		up   func(context.Context) error
		want Status
	}{
		{held, ready(nil), OK}, {held, down, Warn}, {"127.0.0.1:0", down, OK}, {"nowhere.invalid:1", down, Fail},
	} {
		if got, detail := only(t, port(t.Context(), Config{HTTP: tc.addr, Ready: tc.up})); got != tc.want {
			t.Errorf("%s: %s, %s", tc.addr, got, detail)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestRecordedPostgres(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	bin := filepath.Join(home, "bin")
	for _, dir := range []string{bin, filepath.Join(home, "postgres")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	record := filepath.Join(home, "postgres", "postgres.json")
	write(record, `{"source":"wheel","version":"18.6","vector_version":"0.8.1","bin_dir":"`+bin+`"}`)
	if got, detail := only(t, postgres(t.Context(), Config{Home: home})); got != Fail || !strings.Contains(detail, "gone") {
		t.Errorf("without its program: %s, %s", got, detail)
	}
	write(filepath.Join(bin, "postgres"), "")
	got := postgres(t.Context(), Config{Home: home})
	want := []Check{
		{Name: "postgres", Status: OK, Detail: "private, PostgreSQL 18.6 (wheel)"},
		{Name: "pgvector", Status: Warn, Detail: "0.8.1: exact search only", Fix: fixVector},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	write(record, "{")
	if got, _ := only(t, postgres(t.Context(), Config{Home: home})); got != Fail {
		t.Errorf("damaged record: %s", got)
	}
}

// brokers is an environment with this KAFKA_BROKERS only.
func brokers(list string) func(string) string {
	return func(name string) string {
		if name == "KAFKA_BROKERS" {
			return list
		}
		return ""
	}
}

func TestGivenPartsThatAreAway(t *testing.T) {
	t.Parallel()
	cfg := Config{DatabaseURL: "postgres://ada:sesame@127.0.0.1:1/x", //nolint:gosec // nobody's password
		Getenv: brokers("127.0.0.1:1")}
	if got, detail := only(t, postgres(t.Context(), cfg)); got != Fail || strings.Contains(detail, "sesame") {
		t.Errorf("postgres: %s, %s", got, detail)
	}
	if got, detail := only(t, broker(t.Context(), cfg)); got != Fail {
		t.Errorf("broker: %s, %s", got, detail)
	}
}

func TestBroker(t *testing.T) {
	t.Parallel()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	if got, detail := only(t, broker(t.Context(), Config{Getenv: brokers("127.0.0.1:1," + b.Addr())})); got != OK {
		t.Errorf("%s, %s", got, detail)
	}
	if got, _ := only(t, broker(t.Context(), Config{Getenv: brokers("")})); got != OK {
		t.Errorf("private broker: %s", got)
	}
	if got, detail := only(t, broker(t.Context(), Config{Getenv: brokers("nonsense")})); got != Fail || !strings.Contains(detail, "KAFKA_BROKERS must be host:port") {
		t.Errorf("%s, %s", got, detail)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]Status{"0.7.4": Fail, "0.8.0": Warn, "0.8.5": Warn, "0.8.6": OK, "0.8.10": OK, "0.9": OK, "1.0.0": OK, "": Fail} {
		if got := vector(version); got.Status != want {
			t.Errorf("%q: %+v", version, got)
		}
	}
}

func TestRunMakesEveryCheck(t *testing.T) {
	t.Parallel()
	var names []string
	for _, c := range Run(t.Context(), Config{Home: t.TempDir(), Getenv: brokers(""), HTTP: "127.0.0.1:0", Ready: ready(nil)}) {
		names = append(names, c.Name)
	}
	want := []string{"data folder", "disk space", "fsync", "kernel", "port", "postgres", "broker", "clock"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}
