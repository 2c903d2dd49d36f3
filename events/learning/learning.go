// Package learning holds the facts the learning service finds. Only it writes them, to the stream
// "learning/<pid>".
package learning

import "github.com/agentos-kernel/agentos/events"

// Event is a fact found by learning.
//
//sumtype:decl
type Event interface {
	events.Event
	isLearningEvent()
}

// TrajectoryClosed says that the trajectory of an ended process is whole.
type TrajectoryClosed struct {
	Name         string `json:"name"`    // agent name
	Outcome      string `json:"outcome"` // "completed", "failed", "terminated"
	Steps        int    `json:"steps"`
	ToolCalls    int    `json:"tool_calls"`
	InputTokens  int64  `json:"input_tokens"`
	OutputTokens int64  `json:"output_tokens"`
	CostMicroUSD int64  `json:"cost_micro_usd"`
}
