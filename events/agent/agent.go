// Package agent holds the facts about processes. Only the scheduler writes them, to the stream
// "agent/<pid>".
//
// Life cycle: Spawned, then for every step StepGranted … StepSettled; between steps the process may be
// Waiting for a message; it ends in exactly one of Completed, Failed, Terminated.
package agent

import (
	"time"

	"github.com/agentos-kernel/agentos/events"
)

// Event is a fact about a process.
//
//sumtype:decl
type Event interface {
	events.Event
	isAgentEvent()
}

// The modes of a process.
const (
	ModeTask         = "task"         // an answer without a tool call completes it
	ModeConversation = "conversation" // such an answer makes it wait for the next message
)

// Limits bound what a process may use in all. Zero means the kernel's default.
type Limits struct {
	MaxSteps        int   `json:"max_steps"`          // model calls
	MaxTokens       int64 `json:"max_tokens"`         // prompt and completion tokens of all model calls
	MaxCostMicroUSD int64 `json:"max_cost_micro_usd"` // 1,000,000 = one US dollar
	MaxOutputTokens int   `json:"max_output_tokens"`  // of one model call
	IdleSeconds     int   `json:"idle_seconds"`       // a conversation without a message for so long is terminated
	StepSeconds     int   `json:"step_seconds"`       // wall-clock limit of one model call
}

// Usage is what a process has used.
type Usage struct {
	Steps        int   `json:"steps"`
	ModelCalls   int   `json:"model_calls"`
	ToolCalls    int   `json:"tool_calls"`
	InputTokens  int64 `json:"input_tokens"`
	CachedTokens int64 `json:"cached_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	CostMicroUSD int64 `json:"cost_micro_usd"`
	Counted      bool  `json:"counted"` // some tokens were counted by us, not reported by a provider
}

// Spawned begins a process.
type Spawned struct {
	Name      string   `json:"name"`
	Task      string   `json:"task"`   // the first user message
	System    string   `json:"system"` // the system prompt; may be empty
	Mode      string   `json:"mode"`
	Model     string   `json:"model"` // "provider/model"
	Tools     []string `json:"tools"` // tool names and tool sets ("replay/airline") it may use
	Priority  int      `json:"priority"`
	Limits    Limits   `json:"limits"`
	Workspace string   `json:"workspace"` // absolute folder the file tools are confined to
	Parent    string   `json:"parent"`    // pid of the parent; empty for a root process

	// ContextTokens is the size of the model's window when the process was spawned.
	ContextTokens int `json:"context_tokens"`
}

// After names how far the streams a grant rests on had come.
type After struct {
	LLM  int64 `json:"llm"`
	Tool int64 `json:"tool"`
}

// StepGranted lets the process make one step: one model call with the tool calls it asks for.
type StepGranted struct {
	Step            int       `json:"step"`  // from 1
	Epoch           int       `json:"epoch"` // grows when grants of an older epoch must not start any more
	After           After     `json:"after"`
	Model           string    `json:"model"`
	RemainingSteps  int       `json:"remaining_steps"` // this one included
	RemainingTokens int64     `json:"remaining_tokens"`
	RemainingMicro  int64     `json:"remaining_micro_usd"` // -1: no cost limit
	MaxOutputTokens int       `json:"max_output_tokens"`
	ContextTokens   int       `json:"context_tokens"` // of the model's window
	Tools           []string  `json:"tools"`
	Deadline        time.Time `json:"deadline"`
}

// StepSettled ends a step: its calls have all ended and their usage is charged.
type StepSettled struct {
	Step  int   `json:"step"`
	Usage Usage `json:"usage"` // of this step alone
	After After `json:"after"`
}

// CallObserved is the scheduler's note that a model or tool call of the current step has ended.
type CallObserved struct {
	Step      int    `json:"step"`
	Family    string `json:"family"`         // "llm" or "tool"
	Version   int64  `json:"version"`        // of the observed stream
	Outcome   string `json:"outcome"`        // "finished", "failed", "cancelled", "refused"
	ToolCalls int    `json:"tool_calls"`     // how many tool calls the reply asks for
	Answer    string `json:"answer"`         // the reply's text when it asks for none
	Reason    string `json:"reason"`         // of a failure or refusal
	Code      string `json:"code,omitempty"` // its fault kind; "" in facts written before there was one
	Final     bool   `json:"final"`          // a refusal that ends the process well: the recording is over
	Usage     Usage  `json:"usage"`
}

// MessageReceived is a message in the mailbox of the process.
type MessageReceived struct {
	MessageID string `json:"message_id"`
	Content   string `json:"content"`
}

// MessageDelivered is a message that enters the context with the grant of a step.
type MessageDelivered struct {
	MessageID string `json:"message_id"`
	Content   string `json:"content"`
	Step      int    `json:"step"`
}

// The reasons for waiting.
const (
	WaitMessage = "message" // a conversation waits for its next message
	WaitSlot    = "slot"    // a ready process waits for a free slot
	WaitModel   = "model"   // a model call runs
	WaitTool    = "tool"    // tool calls run
)

// Waiting says that the process does not run, what for and until when.
type Waiting struct {
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
}

// SignalReceived is a request to end the process.
type SignalReceived struct {
	Signal   string    `json:"signal"`   // "terminate" or "kill"
	Deadline time.Time `json:"deadline"` // when a terminate becomes a kill
}

// Completed ends the process with its result.
type Completed struct {
	Result string `json:"result"`
	Reason string `json:"reason"` // "answered", "recording ended"
}

// Failed ends the process with an error.
type Failed struct {
	Reason string `json:"reason"`
	Code   string `json:"code"` // a fault kind: "quota", "unavailable", …
}

// Terminated ends the process because of a signal or the idle limit.
type Terminated struct {
	Reason string `json:"reason"`
	Signal string `json:"signal"`
}
