package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// What a disk should have and do.
const (
	minFree     = 1 << 30
	wantFree    = 5 << 30
	slowFsync   = 20 * time.Millisecond
	fixHome     = "set AGENTOS_HOME to a folder you can write"
	maxSkew     = 2 * time.Second
	oldestClock = 2025
)

// folder looks at the data folder.
func folder(_ context.Context, cfg Config) []Check {
	const name = "data folder"
	info, err := os.Stat(cfg.Home)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if dir := existing(cfg.Home); !writable(dir) {
			return one(name, Fail, cfg.Home+" does not exist, and "+dir+" cannot be written", fixHome)
		}
		return one(name, OK, cfg.Home+" is made at the first start", "")
	case err != nil:
		return one(name, Fail, err.Error(), fixHome)
	case !info.IsDir():
		return one(name, Fail, cfg.Home+" is not a folder", fixHome)
	case !writable(cfg.Home):
		return one(name, Fail, cfg.Home+" cannot be written", fixHome)
	case info.Mode().Perm()&0o066 != 0: // to pass through is harmless, and the private Postgres may need it
		return one(name, Warn, fmt.Sprintf("others can read %s (mode %04o)", cfg.Home, info.Mode().Perm()), "chmod 700 "+cfg.Home)
	}
	return one(name, OK, cfg.Home, "")
}

// existing is the nearest folder above path that exists.
func existing(path string) string {
	for {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
		up := filepath.Dir(path)
		if up == path {
			return path
		}
		path = up
	}
}

func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) == nil
}

// space looks at the room on the disk.
func space(_ context.Context, cfg Config) []Check {
	const name = "disk space"
	var st syscall.Statfs_t
	if err := syscall.Statfs(existing(cfg.Home), &st); err != nil {
		return one(name, Warn, "cannot be read: "+err.Error(), "look with df")
	}
	free := st.Bavail * uint64(st.Bsize) //nolint:gosec // a block size is positive
	detail := fmt.Sprintf("%.1f GiB free", float64(free)/(1<<30))
	switch {
	case free < minFree:
		return one(name, Fail, detail, "free some, or set AGENTOS_HOME to a folder on another disk")
	case free < wantFree:
		return one(name, Warn, detail, "events are kept for good: plan for more")
	}
	return one(name, OK, detail, "")
}

// latency measures what one durable commit costs at least.
func latency(_ context.Context, cfg Config) []Check {
	const name = "fsync"
	took, err := embedded.FsyncLatency(existing(cfg.Home))
	if err != nil {
		return one(name, Warn, err.Error(), fault.FixOf(err))
	}
	detail := fmt.Sprintf("median %s", took.Round(time.Microsecond))
	if took > slowFsync {
		return one(name, Warn, detail, "each commit waits for the disk: use a faster one")
	}
	return one(name, OK, detail, "")
}

// kernel asks a running kernel whether it is ready.
func kernel(ctx context.Context, cfg Config) []Check {
	const name = "kernel"
	err := cfg.Ready(ctx)
	switch {
	case err == nil:
		return one(name, OK, "runs and is ready", "")
	case fault.FixOf(err) == client.FixStart:
		return one(name, Warn, "does not run", client.FixStart)
	}
	return one(name, Fail, "not ready: "+err.Error(), fault.FixOf(err))
}

// port tries the address that a kernel serves on unless told otherwise.
func port(ctx context.Context, cfg Config) []Check {
	const name = "port"
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.HTTP)
	switch {
	case err == nil:
		_ = l.Close() // it was only tried
		return one(name, OK, cfg.HTTP+" is free", "")
	case !errors.Is(err, syscall.EADDRINUSE):
		return one(name, Fail, err.Error(), "start with another address: agentos up --http HOST:PORT")
	case cfg.Ready(ctx) == nil:
		return one(name, OK, cfg.HTTP+" is in use while a kernel runs", "")
	}
	return one(name, Warn, cfg.HTTP+" is held by another program", "start with another address: agentos up --http 127.0.0.1:0")
}

// clock looks whether the machine's time can be right.
func clock(context.Context, Config) []Check {
	const name = "clock"
	now := time.Now()
	if now.Year() < oldestClock {
		return one(name, Fail, "it is not "+now.Format(time.DateTime), "set the machine's clock")
	}
	if !clockSynchronised() {
		return one(name, Warn, now.Format(time.RFC3339)+", not synchronised", "turn on time synchronisation: timedatectl set-ntp true")
	}
	return one(name, OK, now.Format(time.RFC3339), "")
}
