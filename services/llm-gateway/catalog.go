package llmgateway

import (
	"context"
	"slices"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
)

// publishAgain is the pause between two tries to publish a catalogue.
const publishAgain = time.Second

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
	for ctx.Err() == nil {
		g.catalog.Refresh(ctx)
		pause := g.cfg.Refresh
		if models := g.catalog.Models(); told == nil || !slices.Equal(told, models) {
			if _, err := g.rt.Do(ctx, events.DefaultTenant, core.RegistrySubject, core.Publish{Models: models}); err == nil {
				told = models
			} else {
				pause = publishAgain
				g.rt.Logger().WarnContext(ctx, "model catalogue not published yet", "error", err)
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return nil
}
