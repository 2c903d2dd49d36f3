// Package kernel runs the built binary for black-box tests: the whole kernel in one process, or the
// infrastructure with each service in its own.
package kernel

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/embedded"
)

// Root is the repository.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the working directory")
	return ""
}

// Process is one running binary.
type Process struct {
	Name string
	cmd  *exec.Cmd
	line chan string
	done chan struct{}
	err  error
	log  *os.File
}

// Home is a data folder that the account Postgres runs under can reach; it goes with the test, and so
// does a database server that a killed kernel left behind.
func Home(t testing.TB) string {
	t.Helper()
	home, err := os.MkdirTemp("", "agentos-test-") //nolint:usetesting // logs of a failed test are kept
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(home, 0o711); err != nil { //nolint:gosec // others may pass through, not look
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := embedded.StopLeftover(ctx, filepath.Join(home, "postgres")); err != nil {
			t.Errorf("stop what was left behind: %v", err)
		}
		if t.Failed() {
			t.Logf("logs are kept in %s", home)
			return
		}
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	return home
}

// Bin is the binary under test: the one AGENTOS_BIN names, else bin/agentos, which is built when it is
// missing.
func Bin(t testing.TB) string {
	t.Helper()
	if bin := os.Getenv("AGENTOS_BIN"); bin != "" {
		return bin
	}
	bin := filepath.Join(Root(t), "bin", "agentos")
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	// Other packages may do the same at the same time: each builds its own file and renames it.
	own := fmt.Sprintf("%s.%d", bin, os.Getpid())
	build := exec.Command("go", "build", "-o", own, "./cmd/agentos") //nolint:gosec,noctx // our own source; ends by itself
	build.Dir = Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the binary: %v\n%s", err, out)
	}
	if err := os.Rename(own, bin); err != nil {
		t.Fatal(err)
	}
	return bin
}

// Start runs the binary with the given arguments and AGENTOS_HOME, and does not wait.
func Start(t testing.TB, home, name string, env []string, args ...string) *Process {
	t.Helper()
	return StartBinary(t, Bin(t), home, name, env, args...)
}

// StartBinary is Start for another version of the binary.
func StartBinary(t testing.TB, bin, home, name string, env []string, args ...string) *Process {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(home, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{Name: name, cmd: exec.Command(bin, args...), line: make(chan string, 1), done: make(chan struct{}), log: log} //nolint:gosec,noctx // our own binary; ended by signals
	p.cmd.Env = append(append(os.Environ(), "AGENTOS_HOME="+home, "AGENTOS_LOG=json", "DATABASE_URL=", "KAFKA_BROKERS="), env...)
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n') // an early end shows as an empty line
		p.line <- text
		_, _ = io.Copy(io.Discard, out)
		p.err = p.cmd.Wait()
		once.Do(func() { close(p.done) })
	}()
	t.Cleanup(func() { p.Kill() })
	return p
}

// Ready waits for the line that says the process is ready and decodes it.
func (p *Process) Ready(t testing.TB, limit time.Duration) map[string]any {
	t.Helper()
	select {
	case text := <-p.line:
		v := map[string]any{}
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			<-p.done
			t.Fatalf("%s did not start (%v); see %s", p.Name, p.err, p.log.Name())
		}
		return v
	case <-time.After(limit):
		p.Kill()
		t.Fatalf("%s was not ready within %s; see %s", p.Name, limit, p.log.Name())
	}
	return nil
}

// Kill sends SIGKILL and waits for the end. Killing twice is fine.
func (p *Process) Kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL) // it may have ended
	<-p.done
	_ = p.log.Close()
}

// Signal sends a signal.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is, after Done, how the process ended: nil for exit code 0.
func (p *Process) Err() error { return p.err }

// PID is the process's id at the operating system.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop sends SIGTERM and waits for a clean end.
func (p *Process) Stop(limit time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.Wait(limit)
}

// Wait waits for the end of the process and says how it ended; what takes longer is killed.
func (p *Process) Wait(limit time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		p.Kill()
		return fmt.Errorf("%s did not end within %s", p.Name, limit)
	}
}

// Port is a free loopback port below 32768.
func Port(t testing.TB) string {
	t.Helper()
	n, err := embedded.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(n)
}

// Examples are the flags that give a kernel the recordings of the repository.
func Examples(t testing.TB) []string {
	t.Helper()
	root := Root(t)
	return []string{
		"--cassettes", filepath.Join(root, "examples", "airline"), "--cassettes", filepath.Join(root, "examples", "report"),
	}
}

// Client talks to the kernel of a data folder at a URL.
func Client(t testing.TB, home, url string) *client.Client {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(home, "api.key"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{URL: url, Key: strings.TrimSpace(string(key))})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// AwaitReady waits until /readyz says yes.
func AwaitReady(t testing.TB, url string, limit time.Duration) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		ok := err == nil && res.StatusCode == http.StatusOK
		if err == nil {
			_ = res.Body.Close()
		}
		cancel()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready within %s: %v", url, limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
