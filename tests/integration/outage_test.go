package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/tests/kernel"
)

// outageTime is how long broker or database are away.
const outageTime = 10 * time.Second

// TestOutages: with each service in its own process, broker or database go away under load and come back.
// Meanwhile /readyz says so; afterwards everything catches up by itself and no transcript has suffered.
func TestOutages(t *testing.T) {
	t.Parallel()
	s := kernel.Serve(t)
	//nolint:paralleltest // one outage at a time
	for _, tc := range []struct {
		name   string
		outage func(*testing.T, *kernel.Services)
	}{
		{"the broker hangs for 10 s", brokerHangs},
		{"Postgres is killed", postgresKilled},
		{"broker and Postgres are gone for 10 s", bothGone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			drive := kernel.StartDrive(t, s.Client, tc.name, 30, 3*time.Minute)
			time.Sleep(600 * time.Millisecond)
			if drive.Over() {
				t.Log("the load was over before the outage began")
			}
			tc.outage(t, s)
			began := time.Now()
			for _, n := range kernel.Names() {
				kernel.AwaitReady(t, "http://"+s.Ports[n], time.Minute)
			}
			ready := time.Since(began)
			drive.Check(t, s.Client)
			fmt.Printf("%s: ready again after %.1f s, all conversations done after %.1f s\n", tc.name, ready.Seconds(), time.Since(began).Seconds())
		})
	}
	kernel.AuditVerified(t, s.Client)
}

func brokerHangs(t *testing.T, s *kernel.Services) {
	t.Helper()
	if err := s.Infra.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	t.Cleanup(func() { _ = s.Infra.Signal(syscall.SIGCONT) }) // a stopped process would outlive the test
	notReady(t, s)
	time.Sleep(time.Until(begin.Add(outageTime)))
	if err := s.Infra.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// postgresKilled relies on `serve infra` to start its database again.
func postgresKilled(t *testing.T, s *kernel.Services) {
	t.Helper()
	old := postmaster(t, s)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		if pid, err := kernel.Postmaster(s.Home); err == nil && pid != old {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the database was not started again")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func bothGone(t *testing.T, s *kernel.Services) {
	t.Helper()
	pid := postmaster(t, s)
	s.Infra.Kill()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	notReady(t, s)
	time.Sleep(time.Until(begin.Add(outageTime)))
	s.StartInfra(t)
}

// notReady waits until every service says that it is not ready.
func notReady(t *testing.T, s *kernel.Services) {
	t.Helper()
	deadline := time.Now().Add(outageTime - time.Second)
	for _, n := range kernel.Names() {
		for readyStatus(t.Context(), "http://"+s.Ports[n]) != http.StatusServiceUnavailable {
			if time.Now().After(deadline) {
				t.Errorf("%s does not say that it is not ready", n)
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func readyStatus(ctx context.Context, url string) int {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", http.NoBody)
	if err != nil {
		return 0
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func postmaster(t *testing.T, s *kernel.Services) int {
	t.Helper()
	pid, err := kernel.Postmaster(s.Home)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// A kernel whose database does not start again ends, not zero and with the reason, so that whoever runs it
// sees it and starts it again. It must not live on and refuse everything.
func TestUpEndsWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	k := kernel.Up(t, nil)
	pid, err := kernel.Postmaster(k.Home)
	if err != nil {
		t.Fatal(err)
	}
	var data string
	if err := k.DB(t).QueryRow(t.Context(), "SHOW data_directory").Scan(&data); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(data, "postgresql.auto.conf")
	if err := os.WriteFile(settings, []byte("no_such_setting = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-k.Process.Done():
	case <-time.After(2 * time.Minute):
		t.Fatal("the kernel lives on without a database")
	}
	if err := k.Process.Err(); err == nil {
		t.Error("it ended as if nothing was wrong")
	}
	log, err := os.ReadFile(filepath.Join(k.Home, "up.log"))
	if err != nil || !strings.Contains(string(log), "the database server died and does not start again") {
		t.Errorf("it does not say why it ended (%v): see up.log", err)
	}
	// Mended, it starts again with what was there.
	if err := os.WriteFile(settings, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k.Start(t)
}
