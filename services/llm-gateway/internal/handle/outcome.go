package handle

import (
	"context"
	"fmt"

	"github.com/agentos-kernel/agentos/libs/effect"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
)

// outcome records how a call ended, if its attempt is still the open one.
func (h *Handler) outcome(ctx context.Context, u *service.Unit, in *service.Input, o effect.Outcome) error {
	cmd, ok := o.Value.(core.Command)
	if !ok {
		return fault.Newf(fault.Internal, "llm-gateway.outcome", "a call ended with %T", o.Value)
	}
	if err := h.decide(ctx, u, in, cmd); err != nil {
		return err
	}
	h.Effects.Done(u, o.Effect)
	return nil
}

// takeOver repeats a call whose attempt was lost in a crash, or ends it.
func (h *Handler) takeOver(ctx context.Context, u *service.Unit, in *service.Input, t effect.Takeover) error {
	e := t.Effect
	st, err := h.streams.Load(ctx, u, in.Tenant, in.Subject)
	if err != nil {
		return fmt.Errorf("load the stream: %w", err)
	}
	open := st.State.Open
	if open == nil || open.Call.ID != e.CallID || open.Call.Attempt != e.Attempt {
		h.Effects.Done(u, e) // its outcome is recorded
		return nil
	}
	ended, err := hasEnded(ctx, u.DB(), in.Tenant, in.Subject)
	if err != nil {
		return err
	}
	space, err := h.Windows.Step(ctx, in.Tenant, in.Subject, open.Call.Step, open.Call.Epoch)
	if err != nil {
		return unavailable(err)
	}
	w := space.Window
	cmd := core.TakeOver{Call: open.Call, Ended: ended}
	target, err := h.Catalog.Resolve(w.Model)
	if err != nil {
		return h.giveUp(u, st, e, core.Fail{Call: open.Call, Code: fault.KindOf(err).String(), Reason: refusal(err).Reason})
	}
	cmd.Free = target.Recorded
	messages, err := space.Messages()
	if err != nil {
		return h.giveUp(u, st, e, core.Fail{Call: open.Call, Code: fault.Internal.String(), Reason: err.Error()})
	}
	job, refused, err := h.job(ctx, in.Tenant, in.Subject, w, target, messages, w.Deadline.Sub(space.OpenedAt))
	if err != nil {
		return err
	}
	if refused != nil && !ended {
		return h.giveUp(u, st, e, core.Fail{Call: open.Call, Code: refused.Code, Reason: refused.Reason})
	}
	facts := core.Decide(st.State, cmd)
	st.Append(facts...)
	if !h.launch(u, job, facts) { //nolint:contextcheck // a call outlives the batch that starts it
		h.Effects.Done(u, e)
	}
	return nil
}

// giveUp ends a lost call that cannot be repeated.
func (h *Handler) giveUp(u *service.Unit, st *service.Stream[core.State], e effect.Effect, cmd core.Fail) error {
	st.Append(core.Decide(st.State, cmd)...)
	h.Effects.Done(u, e)
	return nil
}
