package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// env is what all benchmarks share.
type env struct {
	report *report
	root   string // the repository
	dir    string // temporary folder: binary, cassettes, data folders
	bin    string // the kernel's binary, built on first use
	short  bool
	smoke  bool
	kafka  bool // Apache Kafka instead of the embedded broker, for what is measured below HTTP
	agents int
	homes  int
}

func newEnv(r *report, short bool, agents int) (*env, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "agentos-bench-")
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "bench", "cannot make a temporary folder", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the account Postgres runs under must pass through
		return nil, fault.Wrap(fault.Unavailable, "bench", "cannot open the temporary folder to others", err)
	}
	return &env{report: r, root: root, dir: dir, short: short, agents: agents}, nil
}

// close removes everything; what stops last has stopped by now.
func (e *env) close() error { return os.RemoveAll(e.dir) } //nolint:gosec // made by newEnv

// repository is the folder with go.mod, from the working directory up.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fault.Wrap(fault.Internal, "bench", "there is no working directory", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fault.New(fault.Invalid, "bench", "this is not the repository").WithFix("run `go run ./bench` in a clone of it")
		}
		dir = up
	}
}

// binary builds the kernel once.
func (e *env) binary(ctx context.Context) (string, error) {
	if e.bin != "" {
		return e.bin, nil
	}
	out := filepath.Join(e.dir, "agentos")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", out, "./cmd/agentos") //nolint:gosec // our own folder
	cmd.Dir, cmd.Env = e.root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fault.Wrap(fault.Internal, "bench", "cannot build ./cmd/agentos: "+string(text), err)
	}
	e.bin = out
	return out, nil
}

// home is a fresh data folder. remove stops a server that was left in it, and deletes it.
func (e *env) home(ctx context.Context) (dir string, remove func() error, err error) {
	e.homes++
	dir = filepath.Join(e.dir, fmt.Sprintf("home-%d", e.homes))
	if err := os.Mkdir(dir, 0o711); err != nil { //nolint:gosec // the account Postgres runs under must pass through
		return "", nil, fault.Wrap(fault.Unavailable, "bench", "cannot make a data folder", err)
	}
	return dir, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		return errors.Join(embedded.StopLeftover(ctx, filepath.Join(dir, "postgres")), os.RemoveAll(dir)) //nolint:gosec // made above
	}, nil
}

// pick is the full or the short form of a number.
func pick[T any](e *env, full, short T) T {
	if e.short {
		return short
	}
	return full
}
