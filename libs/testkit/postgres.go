package testkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/libs/embedded"
)

const (
	homePrefix  = "agentos-testpg-"
	templateOK  = ".complete"
	stopTimeout = 10 * time.Second
)

// Postgres returns a superuser's URL of a fresh, empty database with pgvector, dropped when t ends.
func Postgres(tb testing.TB) (adminURL string) {
	tb.Helper()
	c := process()
	if err := c.acquire(tb.Context()); err != nil {
		unavailable(tb, "postgres", err)
	}
	tb.Cleanup(func() {
		if err := c.release(); err != nil {
			tb.Errorf("stop the test cluster: %v", err)
		}
	})
	name, err := c.createDatabase(tb.Context())
	if err != nil {
		tb.Fatalf("create a test database: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), stopTimeout)
		defer cancel()
		if err := c.exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			tb.Errorf("drop the test database: %v", err)
		}
	})
	return c.pg.AdminURL(name)
}

// Main runs the package's tests, stops what they started and exits. Each of after runs at the end, such as
// a check for leaked goroutines; an error fails the run.
func Main(m *testing.M, after ...func() error) {
	c := process()
	c.keep = true
	code := m.Run()
	errs := []error{c.stop()}
	for _, f := range after {
		errs = append(errs, f())
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, "testkit:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Broker starts an in-memory Kafka-protocol broker on a free port and returns host:port; it ends with t.
// Topics are not made on demand.
func Broker(tb testing.TB) (addr string) {
	tb.Helper()
	b, err := embedded.StartBroker(tb.Context(), embedded.BrokerConfig{})
	if err != nil {
		unavailable(tb, "kafka", err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Errorf("close the broker: %v", err)
		}
	})
	return b.Addr()
}

// unavailable ends the test: failed if AGENTOS_REQUIRE names the part, else skipped.
func unavailable(tb testing.TB, part string, err error) {
	tb.Helper()
	if required(os.Getenv("AGENTOS_REQUIRE"), part) {
		tb.Fatalf("%s is required (AGENTOS_REQUIRE) and cannot be had: %v", part, err)
	}
	tb.Skipf("%s cannot be had: %v", part, err)
}

func required(list, part string) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(s string) bool { return strings.TrimSpace(s) == part })
}

// cluster is the test process's one cluster.
type cluster struct {
	mu    sync.Mutex
	keep  bool // Main stops it; else the last user does
	users int
	next  int
	home  string
	pg    *embedded.Postgres
	err   error // a failed start is not tried again
}

// process returns the one cluster of this process: tests of a package have no common owner but the process.
var process = sync.OnceValue(func() *cluster { return &cluster{} }) //nolint:gochecknoglobals // see comment

func (c *cluster) acquire(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if c.pg == nil {
		if c.pg, c.home, c.err = startCluster(context.WithoutCancel(ctx)); c.err != nil {
			return c.err
		}
	}
	c.users++
	return nil
}

func (c *cluster) release() error {
	c.mu.Lock()
	c.users--
	last := c.users == 0 && !c.keep
	c.mu.Unlock()
	if !last {
		return nil
	}
	return c.stop()
}

// stop ends the cluster and removes its files.
func (c *cluster) stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pg == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout) //nolint:forbidigo // the end of the test process
	defer cancel()
	err := c.pg.Stop(ctx)
	c.pg = nil
	unlock, lockErr := lockClusters() // or another process's sweep meets our removal
	if lockErr != nil {
		return errors.Join(err, lockErr)
	}
	defer unlock()
	return errors.Join(err, os.RemoveAll(c.home))
}

func (c *cluster) createDatabase(ctx context.Context) (string, error) {
	c.mu.Lock()
	c.next++
	name := fmt.Sprintf("test_%d", c.next)
	c.mu.Unlock()
	return name, c.exec(ctx, "CREATE DATABASE "+name)
}

func (c *cluster) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, c.pg.AdminURL("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// startCluster copies the template into a temporary folder and starts a server on it. The lock over
// processes keeps sweep from folders that are just being made.
func startCluster(ctx context.Context) (pg *embedded.Postgres, home string, err error) {
	dir, err := cacheDir()
	if err != nil {
		return nil, "", err
	}
	unlock, err := lockClusters()
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	sweep(ctx)
	template := filepath.Join(dir, "template-"+embedded.DistVersion)
	pg, home, err = startCopy(ctx, template)
	if err == nil {
		return pg, home, nil
	}
	// No template yet, or one that no longer fits the binaries.
	if err := makeTemplate(ctx, template); err != nil {
		return nil, "", err
	}
	return startCopy(ctx, template)
}

func cacheDir() (string, error) {
	cache, err := embedded.CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "testkit")
	return dir, os.MkdirAll(dir, 0o755) //nolint:gosec // the server's account passes through
}

func makeTemplate(ctx context.Context, template string) error {
	if err := os.RemoveAll(template); err != nil {
		return err
	}
	pg, err := embedded.StartPostgres(ctx, embedded.PostgresConfig{Home: template, Volatile: true})
	if err != nil {
		return err
	}
	if err := pg.Stop(ctx); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(template, templateOK), nil, 0o600)
}

func startCopy(ctx context.Context, template string) (*embedded.Postgres, string, error) {
	if _, err := os.Stat(filepath.Join(template, templateOK)); err != nil {
		return nil, "", err
	}
	home, err := os.MkdirTemp("", homePrefix)
	if err != nil {
		return nil, "", err
	}
	if err := copyTree(ctx, template, home); err != nil {
		return nil, "", errors.Join(err, os.RemoveAll(home))
	}
	pg, err := embedded.StartPostgres(ctx, embedded.PostgresConfig{Home: home, Volatile: true})
	if err != nil {
		return nil, "", errors.Join(err, os.RemoveAll(home))
	}
	return pg, home, nil
}

// copyTree lets cp do it: it keeps owners and shares blocks where the file system can.
func copyTree(ctx context.Context, from, to string) error {
	args := []string{"-a", from + "/.", to}
	if err := exec.CommandContext(ctx, "cp", append([]string{"--reflink=auto"}, args...)...).Run(); err == nil { //nolint:gosec // our own folders
		return nil
	}
	out, err := exec.CommandContext(ctx, "cp", args...).CombinedOutput() //nolint:gosec // as above
	if err != nil {
		return fmt.Errorf("copy the template: %w: %s", err, out)
	}
	return nil
}

// sweep stops and removes clusters of test processes that died. One that is in use says so by its lock.
func sweep(ctx context.Context) {
	homes, _ := filepath.Glob(filepath.Join(os.TempDir(), homePrefix+"*")) // fails only on a bad pattern
	for _, home := range homes {
		stopCtx, cancel := context.WithTimeout(ctx, stopTimeout)
		if err := embedded.StopLeftover(stopCtx, home); err == nil {
			_ = os.RemoveAll(home) // a rest is found again by the next sweep
		}
		cancel()
	}
}

// lockClusters keeps other test processes from making, sweeping or removing clusters meanwhile.
func lockClusters() (unlock func(), err error) {
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // a child between fork and exec may have a copy
		_ = f.Close()
	}, nil
}
