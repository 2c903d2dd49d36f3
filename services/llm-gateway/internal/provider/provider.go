// Package provider is what the gateway needs of a source of model answers. Each folder below is one.
package provider

import (
	"context"
	"time"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
)

// Request is one model call.
type Request struct {
	Model     string // the provider's own name, without the prefix
	Messages  []chat.Message
	Chain     string // chain hash of Messages
	Tools     []chat.ToolSpec
	MaxTokens int // most output tokens
}

// Delta is a piece of an answer. The pieces since the last Reset make up the answer's text.
type Delta struct {
	Text  string
	Reset bool // what came before is void: the request is sent again
}

// Reply is an answer, or as much of one as there was when an error ended it.
type Reply struct {
	Message      chat.Message
	FinishReason string
	Usage        llm.Usage // without cost
	Reported     bool      // Usage is the provider's own; otherwise it is empty
	CacheWritten int64     // part of the input that the provider wrote to its cache, where that costs extra
	Lost         []Lost    // earlier tries that had begun to answer
	Model        string    // as the provider names it; may be empty
	ID           string    // the provider's id of the answer; may be empty
	Tries        int       // requests sent
	FirstToken   time.Duration
}

// Lost is a try whose answer was cut off. The provider may charge it, and never says so.
type Lost struct{ Message chat.Message }

// Provider answers model calls. It is safe for concurrent use.
type Provider interface {
	// Complete answers a request. onDelta, if not nil, is called with each piece of the text as it
	// arrives, from the calling goroutine. When ctx ends, the connection to the provider is cut at once.
	// The error is a fault whose kind says who can mend it; the Reply beside it is what there was.
	Complete(ctx context.Context, req Request, onDelta func(Delta)) (Reply, error)
}
