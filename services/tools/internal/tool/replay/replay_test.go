package replay_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/replay"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/tooltest"
)

type recording map[string]chat.Message

func (r recording) ToolResult(chain string) (chat.Message, bool) {
	m, ok := r[chain]
	return m, ok
}

func spec() chat.ToolSpec {
	return chat.ToolSpec{
		Name: "get_user", Description: "Finds a user.",
		Parameters: json.RawMessage(`{"type":"object","properties":{"id":{"type":"string"}},"required":["id"],"additionalProperties":false}`),
	}
}

func result(name, content string) chat.Message {
	return chat.Message{Role: chat.Tool, Content: &content, Name: name, ToolCallID: "call_1"}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	tooltest.Run(t, tooltest.Suite{
		Tool:   replay.New("airline", spec(), recording{"abc": result("get_user", strings.Repeat("row ", 100))}),
		Traits: tool.Traits{Ordered: true}, Chain: "abc", NoCancel: true,
		Valid: `{"id":"u1"}`, Long: `{"id":"u1"}`,
	})
}

func TestReplay(t *testing.T) {
	t.Parallel()
	recorded := recording{"one": result("get_user", "{\"a\": 1}\u2028<&>"), "other": result("book", "x"), "empty": result("get_user", "")}
	for chain, want := range map[string]tool.Outcome{
		"one":   {Result: "{\"a\": 1}\u2028<&>"},
		"empty": {Result: ""},
		"none": {Code: "not_found", Reason: "cassette airline has no result of get_user for call ptest/1/0 (chain none): none is recorded after these messages. " +
			"A replay goes on only as it was recorded: same system prompt, messages and calls."},
		"other": {Code: "not_found", Reason: "cassette airline has no result of get_user for call ptest/1/0 (chain other): the one recorded after these messages is of book. " +
			"A replay goes on only as it was recorded: same system prompt, messages and calls."},
	} {
		t.Run(chain, func(t *testing.T) {
			t.Parallel()
			env := tooltest.Env("")
			env.Chain = chain
			got := tool.Run(t.Context(), replay.New("airline", spec(), recorded), env, nil, tooltest.Limits())
			got.Duration = 0
			if got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}
