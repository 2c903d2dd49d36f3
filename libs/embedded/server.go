package embedded

import (
	"bytes"
	"context"
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

	"github.com/agentos-kernel/agentos/libs/fault"
)

const (
	opServer   = "embedded.server"
	maxLog     = 16 << 20
	pollEvery  = 10 * time.Millisecond
	slowNotice = 2 * time.Second
)

// server is one postmaster process: our child, or one adopted from a program that died.
type server struct {
	pid    int
	exited chan struct{} // closed when the process is gone
	err    error         // how a child ended; read after exited
}

// launch starts the postmaster as a child.
func launch(l layout, b binaries) (*server, error) {
	if err := rotateLog(l.logFile()); err != nil {
		return nil, fault.Wrap(fault.Internal, opServer, "cannot rotate the server's log", err)
	}
	logFile, err := os.OpenFile(l.logFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, opServer, "cannot open the server's log", err)
	}
	defer logFile.Close()
	cmd := exec.Command(b.path("postgres"), "-D", l.data) //nolint:gosec,noctx // a server we chose; it outlives any context
	cmd.SysProcAttr = l.acct.procAttr()
	cmd.Env = serverEnv()
	cmd.Dir = l.data
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if err := cmd.Start(); err != nil {
		return nil, fault.Wrap(fault.Unavailable, opServer, "cannot start PostgreSQL", err).WithFix(waysOut)
	}
	s := &server{pid: cmd.Process.Pid, exited: make(chan struct{})}
	go func() {
		s.err = cmd.Wait()
		close(s.exited)
	}()
	return s, nil
}

// follow watches a postmaster that is not our child. A process that ended but was never reaped still
// has a pid, so the pid file, which the server removes last, counts as well.
func follow(pid int, data string) *server {
	s := &server{pid: pid, exited: make(chan struct{})}
	go func() {
		for isPostmaster(pid, data) {
			time.Sleep(5 * pollEvery)
		}
		close(s.exited)
	}()
	return s
}

func (s *server) gone() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// stop asks for a fast shutdown: sessions are ended, data is written out. When ctx ends first the server is
// stopped hard, which is safe: it recovers at its next start.
func (s *server) stop(ctx context.Context) error {
	if s.gone() {
		return nil
	}
	if err := syscall.Kill(s.pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fault.Wrap(fault.Internal, opServer, "cannot signal PostgreSQL", err)
	}
	select {
	case <-s.exited:
		return nil
	case <-ctx.Done():
	}
	if err := syscall.Kill(s.pid, syscall.SIGQUIT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fault.Wrap(fault.Internal, opServer, "cannot signal PostgreSQL", err)
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(6 * time.Second): // the postmaster itself kills its children after 5
		return fault.Newf(fault.Unavailable, opServer, "PostgreSQL (process %d) does not stop", s.pid).
			WithFix("Kill it by hand: kill -9 " + strconv.Itoa(s.pid))
	}
}

// pidFile is what a postmaster writes of itself.
type pidFile struct {
	pid  int
	data string
	// status is "starting", "ready", "stopping" or, before the first is written, "".
	status string
}

func readPidFile(data string) (pidFile, bool) {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	lines := strings.Split(string(b), "\n")
	if err != nil || len(lines) < 2 {
		return pidFile{}, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 0 {
		return pidFile{}, false
	}
	f := pidFile{pid: pid, data: strings.TrimSpace(lines[1])}
	if len(lines) > 7 {
		f.status = strings.TrimSpace(lines[7])
	}
	return f, true
}

// isPostmaster reports whether pid is a live process that is the postmaster of data. Where /proc is missing the
// process being alive must do; the connection check that follows tells the rest.
func isPostmaster(pid int, data string) bool {
	f, ok := readPidFile(data)
	if !ok || f.pid != pid {
		return false
	}
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	proc := "/proc/" + strconv.Itoa(pid)
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		return true
	}
	cmdline, err := os.ReadFile(proc + "/cmdline") // empty for a zombie
	return err == nil && bytes.Contains(cmdline, []byte("postgres")) && bytes.Contains(cmdline, []byte(data))
}

// leftover finds a postmaster that a dead program left on this cluster. A stale pid file is PostgreSQL's business
// but for one case: an unrelated process with that number, as happens when a container starts again, makes it
// refuse to start. We hold the lock, so nobody else is starting a server here.
func leftover(l layout) (*server, error) {
	f, ok := readPidFile(l.data)
	if !ok {
		return nil, nil
	}
	if isPostmaster(f.pid, l.data) {
		return follow(f.pid, l.data), nil
	}
	if err := syscall.Kill(f.pid, 0); errors.Is(err, syscall.ESRCH) {
		return nil, nil
	}
	if err := os.Remove(filepath.Join(l.data, "postmaster.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fault.Wrap(fault.Internal, opServer, "cannot remove a stale postmaster.pid", err)
	}
	return nil, nil
}

// rotateLog keeps one old file, so that the log stays bounded over restarts.
func rotateLog(name string) error {
	fi, err := os.Stat(name)
	if err != nil || fi.Size() < maxLog {
		return nil //nolint:nilerr // no log yet
	}
	return os.Rename(name, name+".1")
}

// trimLog bounds the log of a running server, which keeps its descriptor: the content is copied, then cut. The
// server appends, so it goes on at the new end.
func trimLog(name string) error {
	fi, err := os.Stat(name)
	if err != nil || fi.Size() < maxLog {
		return nil
	}
	src, err := os.Open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(name+".1", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, io.LimitReader(src, maxLog))
	return errors.Join(err, dst.Close(), os.Truncate(name, 0))
}

// logTail is the end of the server's log from an offset on, for error messages.
func logTail(name string, from int64) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return ""
	}
	if from > fi.Size() {
		from = 0
	}
	b := make([]byte, min(fi.Size()-from, 4096))
	n, err := f.ReadAt(b, max(from, fi.Size()-int64(len(b))))
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return strings.TrimSpace(string(b[:n]))
}

func logSize(name string) int64 {
	fi, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return fi.Size()
}

// StopLeftover stops the server of home if its program died without doing so. It does nothing when there is
// none, and fails with Unavailable while a live program holds home.
func StopLeftover(ctx context.Context, home string) error {
	if _, err := os.Stat(home); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	l, err := locate(home)
	if err != nil {
		return err
	}
	lock, err := takeLock(opServer, l.lockFile(), "the data folder")
	if err != nil {
		return err
	}
	s, err := leftover(l)
	if err == nil && s != nil {
		err = s.stop(ctx)
	}
	if err != nil {
		return errWith(fmt.Errorf("stop the leftover server: %w", err), lock.release())
	}
	return lock.release()
}
