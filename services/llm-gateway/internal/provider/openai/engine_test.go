package openai_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/fault"
	api "github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider/openai"
)

// TestRealEngine talks to the server at AGENTOS_TEST_ENGINE, a URL with the version path such as
// http://127.0.0.1:18181/v1, and asks for the model AGENTOS_TEST_MODEL. Its words are never asserted on.
func TestRealEngine(t *testing.T) {
	t.Parallel()
	url, model := os.Getenv("AGENTOS_TEST_ENGINE"), os.Getenv("AGENTOS_TEST_MODEL")
	if url == "" {
		t.Skip("AGENTOS_TEST_ENGINE names no engine")
	}
	p := provider(t, url, func(c *openai.Config) { c.LimitField = "max_tokens" })
	req := api.Request{Model: model, MaxTokens: 24, Messages: []chat.Message{chat.Text(chat.User, "Tell me about the sea.")}}

	pieces := 0
	var streamed strings.Builder
	reply, err := p.Complete(t.Context(), req, func(d api.Delta) { pieces++; streamed.WriteString(d.Text) })
	if err != nil {
		t.Fatal(err)
	}
	if !reply.Reported || reply.Usage.InputTokens == 0 || reply.Usage.OutputTokens == 0 || reply.FirstToken == 0 ||
		streamed.String() != reply.Message.String() || pieces < 2 || reply.FinishReason == "" {
		t.Errorf("%d pieces, reply %+v", pieces, reply)
	}
	// More output than a small context holds: its size is learned and the call is made with less.
	long := req
	long.MaxTokens = 1 << 20
	long.Messages = []chat.Message{chat.Text(chat.User, strings.Repeat("Tell me about the sea. ", 100))}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("killed")
	var cut time.Time
	reply, err = p.Complete(ctx, long, func(api.Delta) {
		if cut.IsZero() {
			cut = time.Now()
			cancel(cause)
		}
	})
	if !fault.Is(err, fault.Canceled) || !errors.Is(err, cause) {
		t.Errorf("cancelled call: %v, reply %+v", err, reply)
	}
	stopped := time.Since(cut)
	// The engine answers one call at a time: this one waits if the other still runs.
	req.MaxTokens = 1
	begin := time.Now()
	if _, err := p.Complete(t.Context(), req, nil); err != nil {
		t.Error(err)
	}
	t.Logf("context of %d tokens; the call returned %s after the cancel, one token took %s behind it", p.ContextTokens(model), stopped, time.Since(begin))
}
