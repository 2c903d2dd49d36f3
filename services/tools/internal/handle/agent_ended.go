package handle

import (
	"context"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/tools/internal/core"
	"github.com/agentos-kernel/agentos/services/tools/internal/store"
)

// agentEnded stops what still goes on for a process that is over or was killed: calls that wait are
// cancelled now, those that run get their context cancelled and end as their outcome says.
func (h *Handler) agentEnded(ctx context.Context, u *service.Unit, in *service.Input) error {
	reason, ended := store.Ending(in.Event)
	if !ended {
		return nil
	}
	key := store.Key{Tenant: in.Tenant, PID: in.Subject}
	process, err := h.processes.Get(ctx, u, h.history, key)
	if err != nil {
		return err
	}
	if len(process.Tools) > 0 {
		s, err := h.scene(ctx, u, key)
		if err != nil {
			return err
		}
		if _, err := h.decide(ctx, u, s, core.End{Reason: reason}); err != nil {
			return err
		}
		cause := fault.New(fault.Canceled, "tools.cancel", "the process is over: "+reason)
		for _, call := range s.stream.State.In(core.Running) {
			u.AfterCommit(func() { h.effects.Cancel(key.Tenant, call.ID, cause) })
		}
	}
	h.processes.End(u, key, in.Record.StreamVersion, process, reason)
	return nil
}
