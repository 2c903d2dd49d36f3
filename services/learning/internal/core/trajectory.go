// Package core is the pure part of the learning service: the fold that makes trajectories of events, live
// and in a replay alike.
//
// A trajectory is a head and one row per step. The streams of a process (agent, context, llm, tool) are
// read in their own order but arrive in any order to each other, so every field belongs to one stream, or
// is a sum, a maximum or a set: whatever the order, the same bytes come out.
package core

import (
	"time"

	"github.com/agentos-kernel/agentos/events"
)

// The outcomes of a process. Before its end it has none.
const (
	Completed  = "completed"
	Failed     = "failed"
	Terminated = "terminated"
)

// The outcomes of a call.
const (
	Running   = "running"
	Finished  = "finished"
	CallFail  = "failed"
	Cancelled = "cancelled"
	Refused   = "refused"
)

// Seen is how far each stream of the process has been read.
type Seen struct {
	Agent   int64 `json:"agent"`
	Context int64 `json:"context"`
	LLM     int64 `json:"llm"`
	Tool    int64 `json:"tool"`
}

// Usage is what the calls seen so far have used. A lost attempt counts at its reservation.
type Usage struct {
	Steps        int   `json:"steps"`       // that have been settled
	ModelCalls   int   `json:"model_calls"` // that have ended after they had started
	ToolCalls    int   `json:"tool_calls"`  // that have ended
	InputTokens  int64 `json:"input_tokens"`
	CachedTokens int64 `json:"cached_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	CostMicroUSD int64 `json:"cost_micro_usd"`
	Counted      bool  `json:"counted"` // some tokens were counted by us
	Unknown      bool  `json:"unknown"` // a provider may have charged more
}

// Head is what is known of a process as a whole; small, whatever the process does. The zero Head is a
// process nothing is known of.
type Head struct {
	Seen      Seen      `json:"seen"`
	Name      string    `json:"name"`
	Model     string    `json:"model"`
	Mode      string    `json:"mode"`
	Priority  int       `json:"priority"`
	Parent    string    `json:"parent"`
	StartedAt time.Time `json:"started_at"` // zero: the beginning has not been seen
	EndedAt   time.Time `json:"ended_at"`
	Outcome   string    `json:"outcome"`
	Reason    string    `json:"reason"`
	Code      string    `json:"code"`
	Messages  int       `json:"messages"` // received
	Usage     Usage     `json:"usage"`
	LastStep  int       `json:"last_step"` // highest step seen in any stream
	Owed      Seen      `json:"owed"`      // how far, by the scheduler's word, the llm and tool streams had come
	Open      []string  `json:"open"`      // calls begun and not ended, "family:call id", sorted
}

// Whole reports whether the process has ended and all its calls are settled: nothing more is expected.
func (h *Head) Whole() bool {
	return h.Outcome != "" && len(h.Open) == 0 && h.Seen.LLM >= h.Owed.LLM && h.Seen.Tool >= h.Owed.Tool
}

// Step is one step, or with number 0 what frames them all.
type Step struct {
	Step      int        `json:"step"`
	Frame     *Frame     `json:"frame,omitempty"` // of step 0
	GrantedAt time.Time  `json:"granted_at"`
	SettledAt time.Time  `json:"settled_at"`
	Messages  []Message  `json:"messages"`
	Window    *Window    `json:"window,omitempty"`
	Call      *ModelCall `json:"call,omitempty"`
	Tools     []ToolCall `json:"tools"` // by index
}

// Frame is the texts a process begins and ends with.
type Frame struct {
	Task      string   `json:"task"`
	System    string   `json:"system"`
	Tools     []string `json:"tools"`
	Workspace string   `json:"workspace"`
	Result    string   `json:"result"`
}

// Message is a message that entered the context with the step.
type Message struct {
	ID      string `json:"id"`
	Content string `json:"content"`
}

// Window is what the model saw.
type Window struct {
	Hash    string `json:"hash"`
	Pages   int    `json:"pages"`
	Tokens  int    `json:"tokens"`
	Evicted int    `json:"evicted"`
	Refused string `json:"refused"` // why there was none
}

// ModelCall is the model call of a step.
type ModelCall struct {
	ID           string    `json:"id"`
	Model        string    `json:"model"`
	Attempts     int       `json:"attempts"`
	Outcome      string    `json:"outcome"`
	Reason       string    `json:"reason"`
	FinishReason string    `json:"finish_reason"`
	Reply        string    `json:"reply"`
	Usage        Usage     `json:"usage"` // tokens and cost only
	StartedAt    time.Time `json:"started_at"`
	EndedAt      time.Time `json:"ended_at"`
	FirstTokenMS int64     `json:"first_token_ms"`
	DurationMS   int64     `json:"duration_ms"`
}

// ToolCall is one tool call of a step.
type ToolCall struct {
	ID         string `json:"id"`
	Index      int    `json:"index"`
	Name       string `json:"name"`
	Class      string `json:"class"`
	Decision   string `json:"decision"`
	Rule       string `json:"rule"`
	Attempts   int    `json:"attempts"`
	Outcome    string `json:"outcome"`
	Reason     string `json:"reason"`
	Truncated  bool   `json:"truncated"`
	DurationUS int64  `json:"duration_us"`
}

// Relevant reports whether the fold uses events of a kind; of others only the consumer's position moves.
func Relevant(kind string) bool {
	if f := events.FamilyOf(kind); f == events.Audit || f == events.Learning {
		return false
	}
	switch kind {
	case "context.page_written", "llm.catalog_published", "tool.registry_published":
		return false
	}
	return true
}
