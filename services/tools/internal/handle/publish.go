package handle

import (
	"context"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/tools/internal/core"
)

// publish makes the registry of this program the newest one, when it differs.
func (h *Handler) publish(ctx context.Context, u *service.Unit, in *service.Input, c core.Publish) error {
	stream, err := h.streams.Load(ctx, u, in.Tenant, in.Subject)
	if err != nil {
		return fault.Wrap(fault.KindOf(err), "tools.publish", "the registry cannot be read", err)
	}
	for _, e := range core.Decide(stream.State, c) {
		stream.Append(e)
	}
	return nil
}
