// Package replay is the tools of a cassette: each call is answered with the result that was recorded.
//
// A result is found by the chain hash of all messages before it, never by a cursor, so any number of
// processes can replay one recording at once and go on after a crash. The result is the recorded
// message's content, byte for byte. A call the recording does not have is an error, never an invention.
package replay

import (
	"context"
	"encoding/json"

	"github.com/agentos-kernel/agentos/events/chat"
	toolevent "github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
)

// Recording finds what was recorded after a prefix.
type Recording interface {
	// ToolResult is the tool message recorded after the messages with this chain hash.
	ToolResult(chain string) (chat.Message, bool)
}

// Tool is one tool of a cassette.
type Tool struct {
	cassette  string
	spec      chat.ToolSpec
	recording Recording
}

// New is the tool with this spec, answered from a recording; cassette names it in errors.
func New(cassette string, spec chat.ToolSpec, recording Recording) *Tool {
	return &Tool{cassette: cassette, spec: spec, recording: recording}
}

// Spec implements [tool.Tool].
func (t *Tool) Spec() chat.ToolSpec { return t.spec }

// Class implements [tool.Tool]: a replay changes nothing, whatever the tool once did.
func (t *Tool) Class() string { return toolevent.Pure }

// Call implements [tool.Tool]. A call that was not recorded at this place is NotFound.
func (t *Tool) Call(_ context.Context, env tool.Env, _ json.RawMessage) (string, error) {
	m, ok := t.recording.ToolResult(env.Chain)
	if !ok {
		return "", t.unknown(env, "none is recorded after these messages")
	}
	if m.Name != "" && m.Name != t.spec.Name {
		return "", t.unknown(env, "the one recorded after these messages is of "+m.Name)
	}
	return m.String(), nil
}

func (t *Tool) unknown(env tool.Env, why string) error {
	return fault.Newf(fault.NotFound, "tool.replay", "cassette %s has no result of %s for call %s (chain %.12s): %s",
		t.cassette, t.spec.Name, env.CallID, env.Chain, why).
		WithFix("A replay goes on only as it was recorded: same system prompt, messages and calls.")
}
