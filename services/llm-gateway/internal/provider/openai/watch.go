package openai

import (
	"errors"
	"sync"
	"time"
)

var (
	errFirst = errors.New("first token time-out")
	errIdle  = errors.New("idle time-out")
)

// watch calls a function once when nobody has reset it for a while.
type watch struct {
	mu    sync.Mutex
	limit time.Duration
	timer *time.Timer
}

func newWatch(limit time.Duration, expired func()) *watch {
	return &watch{limit: limit, timer: time.AfterFunc(limit, expired)}
}

func (w *watch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	// A watch that has already fired stays so: the request is being ended.
	if w.timer.Stop() {
		w.timer.Reset(w.limit)
	}
}

// phase goes on with another limit.
func (w *watch) phase(limit time.Duration, expired func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer.Stop() {
		w.limit = limit
		w.timer = time.AfterFunc(limit, expired)
	}
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}
