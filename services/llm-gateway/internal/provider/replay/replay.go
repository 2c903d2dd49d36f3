// Package replay answers model calls from cassettes: what is recorded after exactly these messages is
// the answer, and nothing is made up for others.
package replay

import (
	"context"
	"unicode/utf8"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
)

// deltaBytes is the size of the pieces an answer is streamed in.
const deltaBytes = 64

// Provider is a provider.Provider on a library of cassettes.
type Provider struct{ library *cassette.Library }

// New answers from the cassettes of library.
func New(library *cassette.Library) *Provider { return &Provider{library: library} }

// Ended reports whether the messages with this chain hash are a whole recording of the cassette, so
// that there is nothing left to answer. Errors: NotFound, Invalid.
func (p *Provider) Ended(name, chain string) (bool, error) {
	index, err := p.library.Get(name)
	if err != nil {
		return false, err //nolint:wrapcheck // a fault that says it all
	}
	_, more := index.Reply(chain)
	return !more && index.Ended(chain), nil
}

// Complete implements provider.Provider. Messages that are not recorded are a fault of kind NotFound
// that names the nearest recorded ones.
func (p *Provider) Complete(ctx context.Context, req provider.Request, onDelta func(provider.Delta)) (provider.Reply, error) {
	const op = "replay.complete"
	index, err := p.library.Get(req.Model)
	if err != nil {
		return provider.Reply{}, err //nolint:wrapcheck // a fault that says it all
	}
	message, ok := index.Reply(req.Chain)
	if !ok {
		return provider.Reply{}, fault.Newf(fault.NotFound, op, "cassette %s has no reply to these messages: nearest is %s",
			req.Model, index.Nearest(req.Messages)).
			WithFix("send what is recorded, or record this conversation with agentos run --record")
	}
	if err := ctx.Err(); err != nil {
		return provider.Reply{}, fault.Wrap(fault.Canceled, op, "stopped before the answer", context.Cause(ctx))
	}
	if onDelta != nil {
		for text := message.String(); text != ""; {
			n := cut(text)
			onDelta(provider.Delta{Text: text[:n]})
			text = text[n:]
		}
	}
	reason := "stop"
	if len(message.ToolCalls) > 0 {
		reason = "tool_calls"
	}
	return provider.Reply{Message: copyOf(message), FinishReason: reason, Model: index.Cassette().Header.Model, Tries: 1}, nil
}

// cut is how many bytes of text make one piece, whole characters only.
func cut(text string) int {
	if len(text) <= deltaBytes {
		return len(text)
	}
	n := deltaBytes
	for n > 1 && !utf8.RuneStart(text[n]) {
		n--
	}
	return n
}

func copyOf(m chat.Message) chat.Message {
	m.ToolCalls = append([]chat.ToolCall(nil), m.ToolCalls...)
	return m
}
