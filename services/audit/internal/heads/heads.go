// Package heads signs the log as it grows and tells the others about it.
package heads

import (
	"context"
	"encoding/hex"
	"log/slog"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/audit/internal/core"
	"github.com/agentos-kernel/agentos/services/audit/internal/store"
)

// Config is what the loop needs; all of it.
type Config struct {
	// Sign makes a head over all leaves, if there are new ones, and returns the newest head.
	Sign func(ctx context.Context) (store.Head, error)
	// Announce tells everybody about a head; the same one may be told again.
	Announce func(ctx context.Context, cmd core.AnnounceHead) error
	Logger   *slog.Logger

	SignEvery     time.Duration // least time between two heads
	AnnounceEvery time.Duration // least time between two announcements
	Idle          time.Duration // how often to look without having been told: other replicas append too
}

// Loop signs a head when the log has grown.
type Loop struct {
	cfg     Config
	changed chan struct{}
}

// New makes a loop; nothing happens before Run.
func New(cfg Config) *Loop { return &Loop{cfg: cfg, changed: make(chan struct{}, 1)} }

// Changed tells the loop that the log has grown. It never blocks.
func (l *Loop) Changed() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// Run signs until ctx ends. A head that cannot be signed is logged and tried again.
func (l *Loop) Run(ctx context.Context) error {
	var told int64 // size of the newest head announced
	var at time.Time
	failing := false
	for ctx.Err() == nil {
		head, err := l.cfg.Sign(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			l.cfg.Logger.ErrorContext(ctx, "cannot sign the audit log", "error", err, "fix", fault.FixOf(err))
		}
		failing = err != nil
		if !failing && ctx.Err() == nil && head.Size > told && time.Since(at) >= l.cfg.AnnounceEvery {
			if l.announce(ctx, head) {
				told = head.Size
			}
			at = time.Now()
		}
		wait(ctx, l.cfg.SignEvery, nil)
		if !failing && head.Size <= told {
			wait(ctx, l.cfg.Idle, l.changed)
		}
	}
	return nil
}

// wait ends after d, with ctx, or when something comes from early.
func wait(ctx context.Context, d time.Duration, early <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-early:
	}
}

func (l *Loop) announce(ctx context.Context, h store.Head) bool {
	cmd := core.AnnounceHead{Size: h.Size, Root: hex.EncodeToString(h.Root[:]), Note: h.Note}
	if err := l.cfg.Announce(ctx, cmd); err != nil {
		if ctx.Err() == nil {
			l.cfg.Logger.WarnContext(ctx, "cannot announce the head", "error", err)
		}
		return false
	}
	return true
}
