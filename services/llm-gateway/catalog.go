package llmgateway

import (
	"context"
	"slices"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
)

// lookEvery is the pause between two looks at the cassettes, and between two tries to publish a catalogue.
// Engines are asked less often, see Config.Refresh.
const lookEvery = time.Second

// publishCatalog makes the catalogue known at the start and when it changes: an engine that was started
// or stopped, a new cassette. A replica that sees no change is silent, so that two replicas that see
// different engines do not overwrite each other for ever.
func (g *Gateway) publishCatalog(ctx context.Context) error {
	select {
	case <-g.rt.Started():
	case <-ctx.Done():
		return nil
	}
	var told []llm.Model
	var asked time.Time
	for ctx.Err() == nil {
		if asked.IsZero() || time.Since(asked) >= g.cfg.Refresh {
			g.catalog.Refresh(ctx)
			asked = time.Now()
		}
		if models := g.catalog.Models(); told == nil || !slices.Equal(told, models) {
			if _, err := g.rt.Do(ctx, events.DefaultTenant, core.RegistrySubject, core.Publish{Models: models}); err == nil {
				told = models
			} else {
				g.rt.Logger().WarnContext(ctx, "model catalogue not published yet", "error", err)
			}
		}
		select {
		case <-time.After(min(lookEvery, g.cfg.Refresh)):
		case <-ctx.Done():
		}
	}
	return nil
}
