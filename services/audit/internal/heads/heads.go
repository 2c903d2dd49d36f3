// Package heads signs the log as it grows and tells the others about it.
package heads

import (
	"context"
	"encoding/hex"
	"log/slog"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/audit/internal/core"
	"github.com/agentos-kernel/agentos/services/audit/internal/store"
)

// Config is what the loop needs; all of it.
type Config struct {
	DB       store.Execer
	Sign     func(text string) (string, error)
	Do       func(ctx context.Context, tenant, subject string, cmd any) (any, error) // Runtime.Do
	Logger   *slog.Logger
	Every    time.Duration // least time between two heads
	Announce time.Duration // least time between two announcements
	Idle     time.Duration // how often to look without having been told: other replicas append too
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
	var announced time.Time
	var pending store.Head
	idle := time.NewTicker(l.cfg.Idle)
	defer idle.Stop()
	failing := false
	for {
		head, _, err := store.Sign(ctx, l.cfg.DB, l.cfg.Sign)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			l.cfg.Logger.ErrorContext(ctx, "cannot sign the audit log", "error", err, "fix", fault.FixOf(err))
		case err == nil && head.Size > pending.Size:
			pending = head
		}
		failing = err != nil
		wait := l.cfg.Every
		if pending.Size > 0 && time.Since(announced) >= l.cfg.Announce {
			l.announce(ctx, pending)
			announced, pending.Size = time.Now(), 0
		}
		if !l.pause(ctx, wait) {
			return nil
		}
		if pending.Size == 0 && !failing {
			select {
			case <-ctx.Done():
				return nil
			case <-l.changed:
			case <-idle.C:
			}
		}
	}
}

// pause waits and reports whether to go on.
func (l *Loop) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (l *Loop) announce(ctx context.Context, h store.Head) {
	cmd := core.AnnounceHead{Size: h.Size, Root: hex.EncodeToString(h.Root[:]), Note: h.Note}
	if _, err := l.cfg.Do(ctx, events.DefaultTenant, core.Subject, cmd); err != nil && ctx.Err() == nil {
		l.cfg.Logger.WarnContext(ctx, "cannot announce the head", "error", err)
	}
}
