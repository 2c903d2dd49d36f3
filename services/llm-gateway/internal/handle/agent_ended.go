package handle

import (
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/calls"
)

// signalKill is the signal that ends a process without grace.
const signalKill = "kill"

// ended notes that a process has ended and stops its model call.
func (h *Handler) ended(u *service.Unit, in *service.Input, reason string) {
	h.Windows.End(in.Tenant, in.Subject)
	h.cut(u, in, reason)
}

// cut stops the model call of a process at once. The fact that asks for it is durable already, so there
// is no commit to wait for; a call that this same batch starts is stopped after it.
func (h *Handler) cut(u *service.Unit, in *service.Input, reason string) {
	tenant, pid := in.Tenant, in.Subject
	stop := func() {
		if id := h.Calls.Open(tenant, pid); id != "" {
			h.Effects.Cancel(tenant, id, calls.Ended(reason))
		}
	}
	stop()
	u.AfterCommit(stop)
}
