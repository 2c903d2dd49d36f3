package handle

import (
	"context"
	"fmt"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/chat"
	agentctx "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/effect"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/tokens"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/calls"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/catalog"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
)

// callIndex is the index of a step's model call: tool calls count from 1.
const callIndex = 0

// windowAssembled starts the model call of a step, or refuses it with the reason.
func (h *Handler) windowAssembled(ctx context.Context, u *service.Unit, in *service.Input, w agentctx.WindowAssembled) error {
	st, err := h.streams.Load(ctx, u, in.Tenant, in.Subject)
	if err != nil {
		return fmt.Errorf("load the stream: %w", err)
	}
	if st.State.Stale(w.Step, w.Epoch) {
		return nil
	}
	cmd := core.Start{
		ID:   fmt.Sprintf("%s/%d/%d", in.Subject, w.Step, callIndex),
		Step: w.Step, Epoch: w.Epoch, Model: w.Model, WindowHash: w.Hash,
		WantTokens: w.MaxOutputTokens, RemainingTokens: w.RemainingTokens, RemainingMicro: w.RemainingMicro,
	}
	job, err := h.prepare(ctx, u, in, w, &cmd)
	if err != nil {
		return err
	}
	facts := core.Decide(st.State, cmd)
	st.Append(facts...)
	h.launch(u, job, facts) //nolint:contextcheck // a call outlives the batch that starts it
	return nil
}

// prepare finds all a call needs. What stands in its way goes into the command as a refusal; an error
// means that it could not be found out.
func (h *Handler) prepare(ctx context.Context, u *service.Unit, in *service.Input, w agentctx.WindowAssembled, cmd *core.Start) (calls.Job, error) {
	ended, err := h.Windows.Ended(in.Tenant, in.Subject, func() (bool, error) {
		return hasEnded(ctx, u.DB(), in.Tenant, in.Subject)
	})
	if err != nil {
		return calls.Job{}, err
	}
	if ended {
		cmd.Refusal = &core.Refusal{Code: fault.Canceled.String(), Reason: "the process has ended"}
		return calls.Job{}, nil
	}
	target, err := h.Catalog.Resolve(w.Model)
	if err != nil {
		cmd.Refusal = refusal(err)
		return calls.Job{}, nil
	}
	messages, err := h.messages(ctx, in)
	if fault.Is(err, fault.Internal) {
		h.Logger.ErrorContext(ctx, "window does not fit its pages", "pid", in.Subject, "step", w.Step, "error", err)
		cmd.Broken = err.Error()
		return calls.Job{}, nil
	}
	if err != nil {
		return calls.Job{}, err
	}
	job, refused, err := h.job(ctx, in.Tenant, in.Subject, w, target, messages, w.Deadline.Sub(in.Record.Time))
	if err != nil {
		return calls.Job{}, err
	}
	cmd.Refusal = refused
	cmd.Provider, cmd.Price, cmd.ContextTokens, cmd.PromptTokens = target.Name, target.Price, target.ContextTokens, job.PromptTokens
	return job, nil
}

// messages is the window of the input, built again from the event store when memory does not agree.
func (h *Handler) messages(ctx context.Context, in *service.Input) ([]chat.Message, error) {
	version := in.Record.StreamVersion
	space, err := h.Windows.At(ctx, in.Tenant, in.Subject, version)
	if err != nil {
		return nil, unavailable(err)
	}
	if messages, err := space.Messages(); err == nil {
		return messages, nil
	}
	if space, err = h.Windows.Rebuild(ctx, in.Tenant, in.Subject, version); err != nil {
		return nil, unavailable(err)
	}
	return space.Messages() //nolint:wrapcheck // a fault that says it all
}

// unavailable keeps an error of reading apart from a window that is wrong.
func unavailable(err error) error {
	if fault.Is(err, fault.Internal) {
		return fault.Wrap(fault.Unavailable, "llm-gateway.window", "the window cannot be read", err)
	}
	return err
}

// job is the call of a window; limit is the time it may take.
func (h *Handler) job(ctx context.Context, tenant, pid string, w agentctx.WindowAssembled, target catalog.Target, messages []chat.Message, limit time.Duration) (calls.Job, *core.Refusal, error) {
	job := calls.Job{
		Tenant: tenant, PID: pid, Model: w.Model, ProviderName: target.Name, Provider: target.Provider, Price: target.Price,
		Request:      provider.Request{Model: target.Upstream, Messages: messages, Chain: w.Hash},
		PromptTokens: int64(w.Tokens),
	}
	if !w.Deadline.IsZero() {
		job.Limit = max(limit, time.Second)
	}
	if target.Ended != nil {
		ended, err := target.Ended(w.Hash)
		if err != nil {
			return job, refusal(err), nil
		}
		if ended {
			return job, &core.Refusal{Code: llm.CodeRecordingEnded, Reason: "the recording ends here"}, nil
		}
	}
	if target.Recorded {
		return job, nil, nil // a recording holds its tools: nobody is offered any
	}
	specs, missing, err := h.Tools.Specs(ctx, w.Tools)
	if err != nil {
		return job, nil, fmt.Errorf("find the tools: %w", err)
	}
	if len(missing) > 0 {
		return job, &core.Refusal{
			Code:   fault.NotFound.String(),
			Reason: fmt.Sprintf("there is no tool %q; agentos tools lists those there are", missing[0]),
		}, nil
	}
	job.Request.Tools = specs
	job.PromptTokens += int64(tokens.Tools(w.Model, specs))
	return job, nil, nil
}

// launch runs the call that the facts start once they are committed; it reports whether they start one.
func (h *Handler) launch(u *service.Unit, job calls.Job, facts []events.Event) bool {
	for _, f := range facts {
		started, ok := f.(llm.CallStarted)
		if !ok {
			continue
		}
		job.Call, job.Request.MaxTokens = started.Call, started.MaxTokens
		h.Calls.Put(job)
		u.OnRollback(func() { h.Calls.Drop(job.Tenant, job.Call.ID, job.Call.Attempt) })
		h.Effects.Start(u, effect.Effect{
			Tenant: job.Tenant, Subject: job.PID, CallID: job.Call.ID, Attempt: job.Call.Attempt, Class: tool.Repeatable,
		})
		return true
	}
	return false
}

func refusal(err error) *core.Refusal {
	return &core.Refusal{Code: fault.KindOf(err).String(), Reason: calls.Reason(err)}
}

// hasEnded asks the event store whether the process has ended. It may know before we are told.
func hasEnded(ctx context.Context, db eventstore.Querier, tenant, pid string) (bool, error) {
	for _, kind := range []string{agent.Terminated{}.Kind(), agent.Failed{}.Kind(), agent.Completed{}.Kind()} {
		rec, err := eventstore.Last(ctx, db, tenant, events.Agent.Stream(pid), kind)
		if err != nil {
			return false, fmt.Errorf("ask whether the process has ended: %w", err)
		}
		if rec != nil {
			return true, nil
		}
	}
	return false, nil
}
