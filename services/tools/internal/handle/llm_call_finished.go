package handle

import (
	"context"
	"fmt"
	"slices"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/tools/internal/core"
	"github.com/agentos-kernel/agentos/services/tools/internal/registry"
	"github.com/agentos-kernel/agentos/services/tools/internal/store"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
)

// llmCallFinished decides about the tool calls of a reply.
func (h *Handler) llmCallFinished(ctx context.Context, u *service.Unit, in *service.Input, e llm.CallFinished) error {
	if len(e.Message.ToolCalls) == 0 {
		return nil
	}
	key := store.Key{Tenant: in.Tenant, PID: in.Subject}
	s, err := h.scene(ctx, u, key)
	if err != nil {
		return err
	}
	h.replies.Put(key, replyOf(e))
	_, err = h.decide(ctx, u, s, core.Reply{
		Process: s.known(), Step: e.Call.Step, Requests: requests(s.entries, e.Message.ToolCalls),
	})
	return err
}

func replyOf(e llm.CallFinished) reply {
	return reply{step: e.Call.Step, chain: chat.Extend(e.WindowHash, e.Message.Hash())}
}

// requests holds the arguments of all calls against their tools' schemas. Those of unknown tools need
// no check: the policy denies them.
func requests(entries map[string]registry.Entry, calls []chat.ToolCall) []core.Request {
	out := make([]core.Request, len(calls))
	for i, call := range calls {
		out[i].Call = call
		if entry, ok := entries[call.Function.Name]; ok {
			if _, err := entry.Schema.Check(call.Function.Arguments); err != nil {
				_, out[i].Mistakes = tool.Explain(err)
			}
		}
	}
	return out
}

// replyChain is the chain hash up to and including the reply of a step: from memory, or, after a
// restart, from the model's stream.
func (h *Handler) replyChain(ctx context.Context, key store.Key, step int) (string, error) {
	if r, ok := h.replies.Get(key); ok && r.step == step {
		return r.chain, nil
	}
	records, err := h.history.ReadStream(ctx, key.Tenant, events.LLM.Stream(key.PID), 1)
	if err != nil {
		return "", fmt.Errorf("read the reply of step %d: %w", step, err)
	}
	for _, record := range slices.Backward(records) {
		e, err := h.history.Decode(record)
		if err != nil {
			return "", fmt.Errorf("decode the reply of step %d: %w", step, err)
		}
		if finished, ok := e.(llm.CallFinished); ok && finished.Call.Step == step {
			h.replies.Put(key, replyOf(finished))
			return replyOf(finished).chain, nil
		}
	}
	return "", fault.Newf(fault.NotFound, "tools.reply", "process %s has no reply for step %d", key.PID, step).
		WithFix("its model stream was lost: check the event store")
}
