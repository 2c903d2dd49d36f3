package handle

import (
	"context"

	"github.com/agentos-kernel/agentos/libs/effect"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/tools/internal/core"
	"github.com/agentos-kernel/agentos/services/tools/internal/store"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
)

// effectOutcome records how an attempt ended, and starts the call that waited for it. The outcome of an
// attempt that is not the open one any more is nobody's: only its lease goes.
func (h *Handler) effectOutcome(ctx context.Context, u *service.Unit, c effect.Outcome) error {
	out, ok := c.Value.(tool.Outcome)
	if !ok {
		return fault.Newf(fault.Internal, "tools.outcome", "call %s ended in a %T", c.Effect.CallID, c.Value)
	}
	s, err := h.scene(ctx, u, store.Key{Tenant: c.Effect.Tenant, PID: c.Effect.Subject})
	if err != nil {
		return err
	}
	fresh, err := h.decide(ctx, u, s, core.Settle{
		Process: s.known(), CallID: c.Effect.CallID, Attempt: c.Effect.Attempt,
		Result: out.Result, Truncated: out.Truncated, Code: out.Code, Reason: out.Reason,
		Cancelled: out.Cancelled, DurationUS: out.Duration.Microseconds(),
	})
	if err == nil && !fresh {
		h.effects.Done(u, c.Effect)
	}
	return err
}
