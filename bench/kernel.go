package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/libs/fault"
)

const (
	readyLimit = 60 * time.Second
	stopLimit  = 40 * time.Second
)

// kernel is a running `agentos up`.
type kernel struct {
	cmd    *exec.Cmd
	home   string
	log    *os.File
	done   chan struct{} // closed when the process has ended
	err    error
	began  time.Time
	ready  time.Duration // from the start to the ready line
	client *client.Client
}

// startKernel starts the kernel on a data folder and waits for its ready line.
func (e *env) startKernel(ctx context.Context, home string, cassettes ...string) (*kernel, error) {
	bin, err := e.binary(ctx)
	if err != nil {
		return nil, err
	}
	port, err := embedded.FreePort() //nolint:contextcheck // opening a port does not block
	if err != nil {
		return nil, err
	}
	args := []string{"up", "--json", "--http", "127.0.0.1:" + strconv.Itoa(port)}
	for _, c := range cassettes {
		args = append(args, "--cassettes", c)
	}
	log, err := os.OpenFile(filepath.Join(home, "bench.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // our own folder
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "bench", "cannot write the kernel's log", err)
	}
	k := &kernel{cmd: exec.Command(bin, args...), home: home, log: log, done: make(chan struct{}), began: time.Now()} //nolint:gosec,noctx // our own binary; ended by signals
	k.cmd.Env = append(os.Environ(), "AGENTOS_HOME="+home, "DATABASE_URL=", "KAFKA_BROKERS=")
	k.cmd.Stderr = log
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C comes to us alone; we stop it
	out, err := k.cmd.StdoutPipe()
	if err == nil {
		err = k.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fault.Wrap(fault.Internal, "bench", "cannot start the kernel", err), log.Close())
	}
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n') // an early end shows as an empty line
		line <- text
		_, _ = io.Copy(io.Discard, out)
		k.err = k.cmd.Wait()
		close(k.done)
	}()
	select {
	case text := <-line:
		k.ready = time.Since(k.began)
		err = k.connect(text)
	case <-time.After(readyLimit):
		err = fault.Newf(fault.Unavailable, "bench", "the kernel was not ready within %s", readyLimit)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, k.tail(), k.stop())
	}
	return k, nil
}

// connect reads the ready line.
func (k *kernel) connect(line string) error {
	var up client.Up
	if err := json.Unmarshal([]byte(line), &up); err != nil {
		return fault.New(fault.Unavailable, "bench", "the kernel did not start")
	}
	key, err := os.ReadFile(up.APIKeyFile)
	if err != nil {
		return fault.Wrap(fault.Internal, "bench", "cannot read the API key", err)
	}
	k.client, err = client.New(client.Config{URL: up.URL, Key: strings.TrimSpace(string(key))})
	return err
}

// tail is the end of the kernel's log as an error, for what went wrong.
func (k *kernel) tail() error {
	raw, err := os.ReadFile(k.log.Name()) //nolint:gosec // our own file
	if err != nil {
		return err
	}
	return fmt.Errorf("the kernel said: %s", raw[max(0, len(raw)-2000):])
}

// stop lets the kernel drain; one that does not is killed.
func (k *kernel) stop() error {
	defer func() { _ = k.log.Close() }()
	_ = k.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-k.done:
		return k.err
	case <-time.After(stopLimit):
		_ = k.cmd.Process.Kill()
		<-k.done
		return fault.Newf(fault.Internal, "bench", "the kernel did not stop within %s and was killed", stopLimit)
	}
}

// memory is the kernel process's highest resident memory in MB, 0 where /proc does not tell. Postgres
// is a process of its own and not in it.
func (k *kernel) memory() float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", k.cmd.Process.Pid)) //nolint:gosec // a number
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "VmHWM:" {
			if kb, err := strconv.ParseFloat(f[1], 64); err == nil {
				return kb / 1024
			}
		}
	}
	return 0
}

// withKernel runs f against a fresh kernel.
func (e *env) withKernel(ctx context.Context, cassettes []string, f func(k *kernel) error) (err error) {
	home, remove, err := e.home(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	k, err := e.startKernel(ctx, home, cassettes...)
	if err != nil {
		return err
	}
	err = f(k)
	if err != nil {
		err = errors.Join(err, k.tail())
	}
	return errors.Join(err, k.stop())
}
