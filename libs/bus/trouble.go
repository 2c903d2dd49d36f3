package bus

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// trouble decides how loud the failures of many loops are. They fail together when a broker is away, so
// one of them speaks for all.
type trouble struct {
	patience time.Duration
	told     atomic.Int64 // when the last warning was given, Unix nanoseconds
}

// tellEvery is the least time between two warnings.
const tellEvery = time.Minute

// level is DEBUG for what may pass by itself, and WARN, once for all loops, for what has failed since then
// for longer than patience.
func (t *trouble) level(since time.Time) slog.Level {
	now := time.Now()
	if now.Sub(since) < t.patience {
		return slog.LevelDebug
	}
	last := t.told.Load()
	if now.UnixNano()-last < tellEvery.Nanoseconds() || !t.told.CompareAndSwap(last, now.UnixNano()) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}
