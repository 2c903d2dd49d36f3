// Package llm holds the facts about model calls. Only the gateway writes them: calls to the stream
// "llm/<pid>", the catalogue of models to "llm/registry".
//
// A call is refused, or started one or more times (attempts) and then ends in exactly one of finished,
// failed, cancelled.
package llm

import (
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
)

// Event is a fact about model calls.
//
//sumtype:decl
type Event interface {
	events.Event
	isLLMEvent()
}

// Call names one attempt of one model call.
type Call struct {
	ID      string `json:"id"` // "<pid>/<step>/0", our own
	Step    int    `json:"step"`
	Epoch   int    `json:"epoch"`
	Attempt int    `json:"attempt"` // from 1
}

// Usage is what one call used.
type Usage struct {
	InputTokens     int64 `json:"input_tokens"`  // cached ones included
	CachedTokens    int64 `json:"cached_tokens"` // part of the input the provider had cached
	OutputTokens    int64 `json:"output_tokens"` // reasoning included
	ReasoningTokens int64 `json:"reasoning_tokens"`
	CostMicroUSD    int64 `json:"cost_micro_usd"`
	Counted         bool  `json:"counted"` // counted by us, not reported by a provider
	Unknown         bool  `json:"unknown"` // the provider may have charged more: charged at its reservation
}

// CallStarted is the intent to call a model: committed before the provider sees anything.
type CallStarted struct {
	Call           Call   `json:"call"`
	Model          string `json:"model"`
	Provider       string `json:"provider"`
	WindowHash     string `json:"window_hash"`
	MaxTokens      int    `json:"max_tokens"`
	ReservedTokens int64  `json:"reserved_tokens"`
	ReservedMicro  int64  `json:"reserved_micro_usd"`
	Lost           Usage  `json:"lost"` // what the attempt before this one is charged, when it was lost
}

// CallRefused ends a call that never started.
type CallRefused struct {
	Call   Call   `json:"call"`
	Code   string `json:"code"` // a fault kind, or "recording_ended"
	Reason string `json:"reason"`
}

// CodeRecordingEnded refuses a call because the recording ends with the messages given.
const CodeRecordingEnded = "recording_ended"

// CallFinished ends a call with the model's reply.
type CallFinished struct {
	Call         Call         `json:"call"`
	Model        string       `json:"model"`
	WindowHash   string       `json:"window_hash"`
	Message      chat.Message `json:"message"`
	FinishReason string       `json:"finish_reason"`
	Usage        Usage        `json:"usage"`
	FirstTokenMS int64        `json:"first_token_ms"` // from the start of the attempt; 0 when not streamed
	DurationMS   int64        `json:"duration_ms"`
	Tries        int          `json:"tries"` // HTTP requests sent for this attempt
}

// Took implements events.Timed.
func (e CallFinished) Took() time.Duration { return time.Duration(e.DurationMS) * time.Millisecond }

// CallFailed ends a call with an error.
type CallFailed struct {
	Call   Call   `json:"call"`
	Code   string `json:"code"` // a fault kind
	Reason string `json:"reason"`
	Usage  Usage  `json:"usage"`
}

// CallCancelled ends a call that was stopped; what it had said so far is charged.
type CallCancelled struct {
	Call   Call   `json:"call"`
	Reason string `json:"reason"`
	Usage  Usage  `json:"usage"`
}

// CatalogPublished lists the models that can be named; the newest one holds.
type CatalogPublished struct {
	Models []Model `json:"models"`
}

// Model is one row of the catalogue. An ID that ends in "*" stands for every model of that prefix.
type Model struct {
	ID            string `json:"id"` // "provider/model"
	ContextTokens int    `json:"context_tokens"`
	InputMicro    int64  `json:"input_micro_usd_per_mtok"` // -1: price unknown
	CachedMicro   int64  `json:"cached_micro_usd_per_mtok"`
	OutputMicro   int64  `json:"output_micro_usd_per_mtok"`
	Source        string `json:"source"` // "provider", "recording", "script": where the answers come from
}
