// Package handle turns what the gateway hears into decisions about model calls: one file for each
// kind of fact or command.
package handle

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/agentos-kernel/agentos/events/agent"
	agentctx "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/libs/effect"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/calls"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/catalog"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/toolset"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/window"
)

// Deps is what the handlers work with.
type Deps struct {
	Catalog *catalog.Catalog
	Calls   *calls.Calls
	Windows *window.Cache
	Tools   *toolset.Tools
	Effects *effect.Runner
	Logger  *slog.Logger
}

// Handler handles the gateway's inputs.
type Handler struct {
	Deps
	streams *service.Streams[core.State]
	probed  sync.Once
}

// New makes a handler.
func New(deps Deps) *Handler {
	return &Handler{Deps: deps, streams: Fold().Streams()}
}

// Handle handles one input. Facts it has no use for only advance the position.
func (h *Handler) Handle(ctx context.Context, u *service.Unit, in *service.Input) error {
	switch c := in.Command.(type) {
	case effect.Outcome:
		return h.outcome(ctx, u, in, c)
	case effect.Takeover:
		return h.takeOver(ctx, u, in, c)
	case core.Publish:
		return h.decide(ctx, u, in, c)
	}
	if in.Record == nil {
		return fault.Newf(fault.Invalid, "llm-gateway.handle", "unknown command %T", in.Command)
	}
	switch e := in.Event.(type) {
	case agentctx.PageWritten, agentctx.WindowRefused:
		h.Windows.Observe(*in.Record, e)
	case agentctx.WindowAssembled:
		h.Windows.Observe(*in.Record, e)
		return h.windowAssembled(ctx, u, in, e)
	case agent.Completed:
		h.ended(u, in, "the process has completed")
	case agent.Failed:
		h.ended(u, in, "the process has failed")
	case agent.Terminated:
		h.ended(u, in, "the process was terminated")
	case agent.SignalReceived:
		if e.Signal == signalKill {
			h.cut(u, in, "the process was killed")
		}
	}
	return nil
}

// Assigned forgets what was kept in memory about processes: another replica may have handled them. The
// first time it also waits until the engines of this machine were asked for their models, so that a
// call is not refused only because the gateway has just started.
func (h *Handler) Assigned(ctx context.Context, _ []int) error {
	h.Windows.Clear()
	h.probed.Do(func() { h.Catalog.Refresh(ctx) })
	return nil
}

// decide appends what a command makes of the subject's stream.
func (h *Handler) decide(ctx context.Context, u *service.Unit, in *service.Input, c core.Command) error {
	st, err := h.streams.Load(ctx, u, in.Tenant, in.Subject)
	if err != nil {
		return fmt.Errorf("load the stream: %w", err)
	}
	st.Append(core.Decide(st.State, c)...)
	return nil
}
