package bus_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// warnings collects what is logged at WARN and above.
type warnings struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *warnings) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *warnings) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (w *warnings) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// A consumer that waits for its topics, and a broker that goes away for a moment, are no news.
func TestStartAndRestartAreQuiet(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	cfg := testConfig(t, p.port)
	w := &warnings{}
	cfg.Logger = w.logger()
	r := newRecorder(t)
	_, stop := goConsume(t, cfg, "g", []string{"a", "b"}, r)
	time.Sleep(300 * time.Millisecond)
	ensure(t, cfg, 8, "a", "b")
	publish(t, newPublisher(t, cfg), "a", numbered(3, 5)...)
	eventually(t, "all messages", func() bool { return r.count() == 15 })
	p.kill(t)
	p.start(t)
	publish(t, newPublisher(t, cfg), "b", numbered(3, 5)...)
	eventually(t, "the messages after the restart", func() bool { return r.count() >= 30 })
	stop()
	if got := w.String(); got != "" {
		t.Errorf("logged at WARN or above:\n%s", got)
	}
}

// A broker that stays away is told of once, not by each of the 16 loops that read from it.
func TestLastingTroubleIsToldOnce(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	cfg := testConfig(t, p.port)
	cfg.StallTimeout = 900 * time.Millisecond
	w := &warnings{}
	cfg.Logger = w.logger()
	ensure(t, cfg, 8, "a", "b")
	c, stop := goConsume(t, cfg, "g", []string{"a", "b"}, newRecorder(t))
	eventually(t, "the polls", func() bool { return len(c.Stats().Shards) == 8 })
	p.kill(t)
	eventually(t, "the warning", func() bool { return w.String() != "" })
	time.Sleep(time.Second)
	if got := w.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "trying again") {
		t.Errorf("warnings:\n%s", got)
	}
	stop()
}
