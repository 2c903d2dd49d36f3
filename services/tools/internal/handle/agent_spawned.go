package handle

import (
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/tools/internal/store"
)

// agentSpawned notes where a process works and what it may use.
func (h *Handler) agentSpawned(u *service.Unit, in *service.Input, e agent.Spawned) error {
	return h.processes.Spawn(u, store.Key{Tenant: in.Tenant, PID: in.Subject}, in.Record.StreamVersion, e)
}
