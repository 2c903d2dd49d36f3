package heads_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/services/audit/internal/core"
	"github.com/agentos-kernel/agentos/services/audit/internal/heads"
	"github.com/agentos-kernel/agentos/services/audit/internal/store"
)

// log is a log that grows by hand.
type log struct {
	mu     sync.Mutex
	size   int64
	signed int
	told   []int64
	err    error
}

func (l *log) sign(context.Context) (store.Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signed++
	return store.Head{Size: l.size}, l.err
}

func (l *log) announce(_ context.Context, cmd core.AnnounceHead) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.told = append(l.told, cmd.Size)
	return nil
}

func (l *log) set(size int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size, l.err = size, err
}

func (l *log) seen() (int, []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.signed, append([]int64{}, l.told...)
}

func run(t *testing.T, l *log) (loop *heads.Loop, stop func()) {
	t.Helper()
	loop = heads.New(heads.Config{
		Sign: l.sign, Announce: l.announce, Logger: slog.New(slog.DiscardHandler),
		SignEvery: 200 * time.Millisecond, AnnounceEvery: time.Second, Idle: 5 * time.Second,
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	return loop, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A log that grows all the time is signed at most five times and announced at most once a second, and the
// last head is announced.
func TestRates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		loop, stop := run(t, l)
		for i := range int64(1000) { // 10 s
			l.set(i+1, nil)
			loop.Changed()
			time.Sleep(10 * time.Millisecond)
		}
		signed, told := l.seen()
		if signed < 45 || signed > 52 || len(told) < 9 || len(told) > 11 {
			t.Errorf("signed %d times, announced %d times in 10 s", signed, len(told))
		}
		time.Sleep(2 * time.Second)
		if _, told = l.seen(); told[len(told)-1] != 1000 {
			t.Errorf("the last head announced is %d", told[len(told)-1])
		}
		stop()
	})
}

// An idle log costs a look every few seconds; growth by another replica is found so.
func TestIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &log{size: 3}
		_, stop := run(t, l)
		time.Sleep(time.Minute)
		signed, told := l.seen()
		if signed > 13 {
			t.Errorf("looked %d times in a minute", signed)
		}
		if diff := cmp.Diff([]int64{3}, told); diff != "" {
			t.Error(diff)
		}
		l.set(4, nil)
		time.Sleep(6 * time.Second)
		if _, told = l.seen(); told[len(told)-1] != 4 {
			t.Errorf("announced %v", told)
		}
		stop()
	})
}

// While nothing can be signed it is tried again; then everything catches up.
func TestFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &log{size: 3, err: errors.New("away")}
		_, stop := run(t, l)
		time.Sleep(5 * time.Second)
		if _, told := l.seen(); len(told) != 0 {
			t.Errorf("announced %v", told)
		}
		l.set(3, nil)
		time.Sleep(2 * time.Second)
		if _, told := l.seen(); cmp.Diff([]int64{3}, told) != "" {
			t.Errorf("announced %v", told)
		}
		stop()
	})
}
