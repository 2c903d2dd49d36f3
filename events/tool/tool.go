// Package tool holds the facts about tools and tool calls. Only the tools service writes them: calls to
// the stream "tool/<pid>", the registry to "tool/registry".
//
// A call is decided, then, if allowed, started, and ends in exactly one of finished, failed, cancelled.
// A denied call ends in failed at once.
package tool

import (
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
)

// Event is a fact about tools.
//
//sumtype:decl
type Event interface {
	events.Event
	isToolEvent()
}

// The classes of effects; they decide what happens to a call whose outcome a crash has hidden.
const (
	Pure         = "pure"         // no effect: run again
	Idempotent   = "idempotent"   // the same call twice is one effect: run again
	Repeatable   = "repeatable"   // may be run again at a price
	Compensable  = "compensable"  // in doubt after a crash
	Irreversible = "irreversible" // in doubt after a crash
)

// Call names one tool call.
type Call struct {
	ID      string        `json:"id"` // "<pid>/<step>/<index>", our own
	Step    int           `json:"step"`
	Index   int           `json:"index"`
	Attempt int           `json:"attempt"` // from 1
	Request chat.ToolCall `json:"request"` // as the model wrote it
}

// The decisions of the policy.
const (
	Allow = "allow"
	Deny  = "deny"
	Ask   = "ask"
)

// CallDecided is the policy's decision about a call.
type CallDecided struct {
	Call     Call   `json:"call"`
	Decision string `json:"decision"`
	Rule     string `json:"rule"`   // the rule that decided
	Reason   string `json:"reason"` // for people
	Class    string `json:"class"`  // effect class of the tool
}

// CallStarted is the intent to run a tool: committed before anything happens.
type CallStarted struct {
	Call   Call     `json:"call"`
	Class  string   `json:"class"`
	Layers []string `json:"layers"` // protection actually enforced
}

// CallFinished ends a call with its result.
type CallFinished struct {
	Call       Call   `json:"call"`
	Result     string `json:"result"`
	Truncated  bool   `json:"truncated"` // the result was cut at the output limit
	DurationUS int64  `json:"duration_us"`
}

// Took implements events.Timed.
func (e CallFinished) Took() time.Duration { return time.Duration(e.DurationUS) * time.Microsecond }

// CallFailed ends a call with an error that the model is shown.
type CallFailed struct {
	Call   Call   `json:"call"`
	Code   string `json:"code"` // a fault kind, or "in_doubt"
	Reason string `json:"reason"`
}

// CallCancelled ends a call that was stopped.
type CallCancelled struct {
	Call   Call   `json:"call"`
	Reason string `json:"reason"`
}

// RegistryPublished lists the tools that can be named; the newest one holds.
type RegistryPublished struct {
	Sets []Set `json:"sets"`
}

// Set is a group of tools under one name: "builtin", or "replay/<cassette>".
type Set struct {
	Name  string `json:"name"`
	Tools []Tool `json:"tools"`
}

// Tool is one tool of the registry.
type Tool struct {
	Spec  chat.ToolSpec `json:"spec"`
	Class string        `json:"class"`
}
