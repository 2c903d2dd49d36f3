package handle

import (
	"context"

	"github.com/agentos-kernel/agentos/libs/effect"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/tools/internal/core"
	"github.com/agentos-kernel/agentos/services/tools/internal/store"
)

// effectTakeover goes on with an attempt whose runner is gone. A lease nothing is open for any more is
// only removed.
func (h *Handler) effectTakeover(ctx context.Context, u *service.Unit, c effect.Takeover) error {
	s, err := h.scene(ctx, u, store.Key{Tenant: c.Effect.Tenant, PID: c.Effect.Subject})
	if err != nil {
		return err
	}
	fresh, err := h.decide(ctx, u, s, core.Takeover{
		Process: s.known(), CallID: c.Effect.CallID, Attempt: c.Effect.Attempt,
	})
	if err == nil && !fresh {
		h.effects.Done(u, c.Effect)
	}
	return err
}
