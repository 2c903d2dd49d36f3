package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// fileLock is an flock on a file that holds its owner's process id. The kernel drops it with the process,
// so it is never stale; the descriptor is close-on-exec, so that a server we start does not keep it.
type fileLock struct{ f *os.File }

// takeLock locks path or fails at once with Unavailable, naming the process that holds it.
func takeLock(op, path, what string) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, op, "cannot open the lock file", err).
			WithFix("Make the folder writable for this user, or choose another one.")
	}
	if err := tryLock(f); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fault.Wrap(fault.Internal, op, "cannot lock "+path, err).
				WithFix("Put the folder on a local file system that supports flock.")
		}
		pid := lockOwner(path)
		return nil, fault.Newf(fault.Unavailable, op, "%s %s is in use by process %s", what, filepath.Dir(path), pid).
			WithFix("Stop process " + pid + " first, or use another folder.")
	}
	if err := stampLock(f); err != nil {
		_ = f.Close() // nothing was written
		return nil, fault.Wrap(fault.Internal, op, "cannot write the lock file", err)
	}
	return &fileLock{f: f}, nil
}

// waitLock locks path, waiting for other holders; for short critical sections between processes.
func waitLock(path string) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, syscall.LOCK_EX); err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return &fileLock{f: f}, nil
}

func (l *fileLock) release() error {
	if l == nil {
		return nil
	}
	// Closing is not enough: a child between fork and exec has a copy of the descriptor for a moment.
	return errors.Join(flock(l.f, syscall.LOCK_UN), l.f.Close())
}

// tryLock does not wait for another program, only for what a killed one was just forking to reach its exec.
func tryLock(f *os.File) error {
	var err error
	for range 5 {
		if err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func stampLock(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func lockOwner(path string) string {
	b, err := os.ReadFile(path)
	if s := strings.TrimSpace(string(b)); err == nil && s != "" {
		return s
	}
	return "(unknown)"
}
