package replay_test

import (
	"context"
	"strings"
	"testing"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider/replay"
)

const folder = "../../../../../examples/airline"

// TestAllRecordingsReplayIdentically walks every conversation as a process does and compares each reply
// and each tool result with the recording by hash.
func TestAllRecordingsReplayIdentically(t *testing.T) {
	t.Parallel()
	library := cassette.NewLibrary(folder)
	index, err := library.Get("airline")
	if err != nil {
		t.Fatal(err)
	}
	p := replay.New(library)
	replies, results, ends := 0, 0, 0
	for _, conv := range index.Cassette().Conversations {
		chain := ""
		for i, m := range conv.Messages {
			switch m.Role {
			case chat.Assistant:
				var text strings.Builder
				reply, err := p.Complete(t.Context(), provider.Request{Model: "airline", Messages: conv.Messages[:i], Chain: chain},
					func(d provider.Delta) { text.WriteString(d.Text) })
				if err != nil {
					t.Fatalf("%s, message %d: %v", conv.ID, i, err)
				}
				if reply.Message.Hash() != m.Hash() || text.String() != m.String() {
					t.Fatalf("%s, message %d: %+v streamed as %q", conv.ID, i, reply.Message, text.String())
				}
				replies++
			case chat.Tool:
				got, ok := index.ToolResult(chain)
				if !ok || got.Hash() != m.Hash() {
					t.Fatalf("%s, message %d: tool result %+v", conv.ID, i, got)
				}
				results++
			}
			chain = chat.Extend(chain, m.Hash())
		}
		ended, err := p.Ended("airline", chain)
		if err != nil {
			t.Fatal(err)
		}
		if ended {
			ends++
		}
	}
	if replies != 1229 || results != 572 || ends != 100 {
		t.Errorf("%d replies, %d tool results, %d ends", replies, results, ends)
	}
}

func TestNothingIsMadeUp(t *testing.T) {
	t.Parallel()
	p := replay.New(cassette.NewLibrary(folder))
	ask := []chat.Message{chat.Text(chat.User, "who are you?")}
	_, err := p.Complete(t.Context(), provider.Request{Model: "airline", Messages: ask, Chain: chat.Chain(ask)}, nil)
	if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), `got user "who are you?"`) || fault.FixOf(err) == "" {
		t.Errorf("got %v", err)
	}
	if _, err := p.Complete(t.Context(), provider.Request{Model: "none"}, nil); !fault.Is(err, fault.NotFound) {
		t.Errorf("no such cassette: %v", err)
	}
	if _, err := p.Ended("none", ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("no such cassette: %v", err)
	}
}

func TestCancelledCallHasNoAnswer(t *testing.T) {
	t.Parallel()
	library := cassette.NewLibrary(folder)
	index, err := library.Get("airline")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := index.Cassette().Conversations[0].Messages[:2]
	if _, err := replay.New(library).Complete(ctx, provider.Request{Model: "airline", Chain: chat.Chain(start)}, nil); !fault.Is(err, fault.Canceled) {
		t.Errorf("got %v", err)
	}
}
