package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// The test binary run again with roleEnv set is a program that starts a part, says so and waits to be killed.
const (
	roleEnv = "EMBEDDED_TEST_ROLE"
	dirEnv  = "EMBEDDED_TEST_DIR"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(runRole(role, os.Getenv(dirEnv)))
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runRole(role, dir string) int {
	ctx := context.Background()
	var err error
	switch role {
	case "postgres":
		var p *embedded.Postgres
		if p, err = embedded.StartPostgres(ctx, embedded.PostgresConfig{Home: dir}); err == nil {
			fmt.Println("ready", p.PID())
		}
	case "broker":
		var b *embedded.Broker
		if b, err = embedded.StartBroker(ctx, embedded.BrokerConfig{Dir: dir}); err == nil {
			fmt.Println("ready", b.Addr())
		}
	}
	if err != nil {
		fmt.Println("failed", err)
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until killed, or the test is gone
	return 0
}

// startRole runs a role and returns what it said after "ready" and a function that kills it hard.
func startRole(t *testing.T, role, dir string) (said string, kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this test itself
	cmd.Env = append(os.Environ(), roleEnv+"="+role, dirEnv+"="+dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says that it was killed
		_ = stdin.Close()
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	said, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ok {
		kill()
		t.Fatalf("the helper program said %q, %v", line, err)
	}
	return said, kill
}

// newHome is a folder the server's account can reach, unlike t.TempDir as root.
func newHome(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agentos-embedded-") //nolint:usetesting // the server's account cannot reach t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the server's account passes through
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := embedded.StopLeftover(context.Background(), filepath.Join(dir, "postgres")); err != nil {
			t.Errorf("stop what the test left: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "postgres")
}

// start starts a server; where none can be had the test is skipped, or fails if AGENTOS_REQUIRE asks for postgres.
func start(t *testing.T, cfg embedded.PostgresConfig) *embedded.Postgres {
	t.Helper()
	cfg.Progress = func(line string) { t.Log(line) }
	begin := time.Now()
	p, err := embedded.StartPostgres(t.Context(), cfg)
	if err != nil {
		if fault.Is(err, fault.Unavailable) && !strings.Contains(os.Getenv("AGENTOS_REQUIRE"), "postgres") {
			t.Skipf("no postgres: %v", err)
		}
		t.Fatalf("start: %v (fix: %s)", err, fault.FixOf(err))
	}
	t.Logf("up after %s: %s %s, pgvector %s", time.Since(begin).Round(time.Millisecond), p.Source(), p.ServerVersion(), p.VectorVersion())
	t.Cleanup(func() { stop(t, p) })
	return p
}

func stop(t *testing.T, p *embedded.Postgres) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// query runs one statement on the default database and returns its first value as text.
func query(t *testing.T, p *embedded.Postgres, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.AdminURL(""))
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer rows.Close()
	var out string
	if rows.Next() {
		vals, err := rows.Values()
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		out = fmt.Sprint(vals[0])
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// A restart keeps the data; pgvector works; a second program on the same home learns who holds it.
func TestPostgresLife(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	p := start(t, embedded.PostgresConfig{Home: home})
	query(t, p, "CREATE TABLE kept (v halfvec(3))")
	query(t, p, "INSERT INTO kept VALUES ('[1,2,3]'), ('[3,2,1]')")

	_, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{Home: home})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) || fault.FixOf(err) == "" {
		t.Errorf("second start on the same home: %v; want Unavailable with our process id and a fix", err)
	}

	stop(t, p)
	stop(t, p) // idempotent
	select {
	case <-p.Done():
	default:
		t.Error("Done is open after Stop")
	}

	q := start(t, embedded.PostgresConfig{Home: home, Offline: true})
	if got := query(t, q, "SELECT v::text FROM kept ORDER BY v <-> '[3,2,2]' LIMIT 1"); got != "[3,2,1]" {
		t.Errorf("nearest = %s; want [3,2,1]", got)
	}
	if q.Adopted() || q.PID() == p.PID() {
		t.Error("a server that was stopped in order was adopted")
	}
	for setting, want := range map[string]string{"fsync": "on", "listen_addresses": "", "max_connections": "200", "server_encoding": "UTF8"} {
		if got := query(t, q, "SHOW "+setting); got != want {
			t.Errorf("%s = %q; want %q", setting, got, want)
		}
	}
}

// After kill -9 of the program its server lives on and is adopted with its sessions' work.
func TestPostgresAdoptedAfterKill(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	first := start(t, embedded.PostgresConfig{Home: home})
	query(t, first, "CREATE TABLE kept AS SELECT 42 AS n")
	stop(t, first)

	pid, kill := startRole(t, "postgres", home)
	kill()
	p := start(t, embedded.PostgresConfig{Home: home})
	if got := strconv.Itoa(p.PID()); got != pid || !p.Adopted() {
		t.Errorf("pid %s, adopted %v; want the server %s adopted", got, p.Adopted(), pid)
	}
	if got := query(t, p, "SELECT n FROM kept"); got != "42" {
		t.Errorf("n = %s; want 42", got)
	}
	stop(t, p)
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join("/proc", pid, "exe")); err == nil && syscall.Kill(n, 0) == nil {
		t.Error("the adopted server runs after Stop")
	}
}

// A postmaster that is killed comes back by itself with what was committed, however often.
func TestPostgresComesBack(t *testing.T) {
	t.Parallel()
	p := start(t, embedded.PostgresConfig{Home: newHome(t)})
	query(t, p, "CREATE TABLE kept AS SELECT 7 AS n")
	for range 7 {
		old := p.PID()
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for begin := time.Now(); p.PID() == old; time.Sleep(5 * time.Millisecond) {
			if time.Since(begin) > 20*time.Second {
				t.Fatal("the server did not come back")
			}
		}
	}
	if got := query(t, p, "SELECT n FROM kept"); got != "7" {
		t.Errorf("n = %s; want 7", got)
	}
}

// One that cannot start again is given up with a reason.
func TestPostgresIsGivenUp(t *testing.T) {
	t.Parallel()
	p := start(t, embedded.PostgresConfig{Home: newHome(t), Volatile: true})
	damage := filepath.Join(query(t, p, "SHOW data_directory"), "postgresql.auto.conf")
	if err := os.WriteFile(damage, []byte("no_such_setting = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(2 * time.Minute):
		t.Fatal("it is not given up")
	}
	if err := p.DownErr(); !fault.Is(err, fault.Unavailable) || fault.FixOf(err) == "" {
		t.Errorf("the reason is %v (fix %q)", err, fault.FixOf(err))
	}
}

// A pid file that names a process which is no server does not keep the server from starting.
func TestPostgresStalePidFile(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	p := start(t, embedded.PostgresConfig{Home: home, Volatile: true})
	data := query(t, p, "SHOW data_directory")
	stop(t, p)
	lines := fmt.Sprintf("%d\n%s\n1\n5432\n/tmp\n\n 1 1\nready   \n", os.Getpid(), data)
	if err := os.WriteFile(filepath.Join(data, "postmaster.pid"), []byte(lines), 0o644); err != nil { //nolint:gosec // like a real one
		t.Fatal(err)
	}
	q := start(t, embedded.PostgresConfig{Home: home, Volatile: true})
	if q.Adopted() || q.PID() == os.Getpid() {
		t.Error("our own process was taken for the server")
	}
}

// A home with a path too long for a socket gets its socket elsewhere, and a server of the user's is used by URL.
func TestPostgresLongHomeAndURL(t *testing.T) {
	t.Parallel()
	p := start(t, embedded.PostgresConfig{Home: filepath.Join(newHome(t), strings.Repeat("long", 25), "postgres"), Volatile: true})
	u, err := url.Parse(p.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	sock := u.Query().Get("host")
	t.Cleanup(func() { _ = os.RemoveAll(sock) })
	if len(sock) >= 100 {
		t.Errorf("socket folder %s has %d bytes", sock, len(sock))
	}

	q, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{DatabaseURL: p.AdminURL("users_own")})
	if err != nil {
		t.Fatal(err)
	}
	if got := query(t, q, "SELECT current_database()"); got != "users_own" {
		t.Errorf("database %s; want users_own, made on demand", got)
	}
	if q.Source() != embedded.SourceURL || q.PID() != 0 || q.VectorVersion() != p.VectorVersion() {
		t.Errorf("source %s, pid %d, vector %s", q.Source(), q.PID(), q.VectorVersion())
	}
	stop(t, q)
	query(t, p, "SELECT 1") // left alone
}

// Every refusal has its kind and tells a fix.
func TestPostgresRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  embedded.PostgresConfig
		kind fault.Kind
	}{
		"relative home": {embedded.PostgresConfig{Home: "data"}, fault.Invalid},
		"no URL":        {embedded.PostgresConfig{DatabaseURL: "host=localhost"}, fault.Invalid},
		"nobody there":  {embedded.PostgresConfig{DatabaseURL: "postgres://u:secret@127.0.0.1:1/x"}, fault.Unavailable}, //nolint:gosec // nobody's password
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := embedded.StartPostgres(t.Context(), tc.cfg)
			if fault.KindOf(err) != tc.kind || err == nil || fault.FixOf(err) == "" {
				t.Errorf("got %v, kind %s; want %s and a fix", err, fault.KindOf(err), tc.kind)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// Nothing is left for a home that was never used.
func TestStopLeftoverOfNothing(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "none")
	if err := embedded.StopLeftover(t.Context(), home); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(home); err == nil {
		t.Error("the folder was made")
	}
}
