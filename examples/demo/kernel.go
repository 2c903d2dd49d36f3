package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// kernel is a running `agentos up`.
type kernel struct {
	cmd     *exec.Cmd
	config  client.Config
	began   time.Time
	startup time.Duration
	once    sync.Once
	done    chan struct{} // closed when the process has ended
	err     error
}

// stopLimit bounds how long a stopping kernel may drain.
const stopLimit = 40 * time.Second

// startKernel starts the kernel with the repository's examples and waits until it is ready.
func startKernel(ctx context.Context, root string) (*kernel, error) {
	cmd := exec.Command(filepath.Join(root, "bin", "agentos"), "up", "--json", "--http", address(), //nolint:gosec,noctx // our own binary; stopped by a signal, not by the context
		"--cassettes", filepath.Join(root, "examples", "airline"), "--cassettes", filepath.Join(root, "examples", "report"),
		"--workspace-root", filepath.Join(root, ".run"))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = childAttributes()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	k := &kernel{cmd: cmd, began: time.Now(), done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, fault.Wrap(fault.Unavailable, "demo", "cannot start bin/agentos", err).WithFix("run `make build`")
	}
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n') // an early end shows as an empty line
		line <- text
		k.err = cmd.Wait()
		close(k.done)
	}()
	select {
	case text := <-line:
		return k, k.ready(text)
	case <-ctx.Done():
		return nil, fmt.Errorf("interrupted while starting: %w", k.stop())
	}
}

func address() string {
	if a := os.Getenv("AGENTOS_HTTP"); a != "" {
		return a
	}
	return "127.0.0.1:7433"
}

// ready reads the line that `up --json` prints.
func (k *kernel) ready(line string) error {
	var up client.Up
	if err := json.Unmarshal([]byte(line), &up); err != nil {
		<-k.done
		return fault.New(fault.Unavailable, "demo", "the kernel did not start; it says why above")
	}
	key, err := os.ReadFile(up.APIKeyFile)
	if err != nil {
		return fmt.Errorf("read the API key: %w", err)
	}
	k.config = client.Config{URL: up.URL, Key: strings.TrimSpace(string(key))}
	k.startup = time.Since(k.began)
	return nil
}

// stop asks the kernel to drain and waits for its end.
func (k *kernel) stop() error {
	k.once.Do(func() { _ = k.cmd.Process.Signal(syscall.SIGTERM) }) // it may have ended already
	select {
	case <-k.done:
		return k.err
	case <-time.After(stopLimit):
		_ = k.cmd.Process.Kill() // the last resort; what it leaves is recovered at the next start
		return fault.New(fault.Internal, "demo", "the kernel did not stop in time and was killed")
	}
}

// wait returns when the kernel ends or ctx does.
func (k *kernel) wait(ctx context.Context) error {
	select {
	case <-k.done:
		return k.err
	case <-ctx.Done():
		return k.stop()
	}
}
