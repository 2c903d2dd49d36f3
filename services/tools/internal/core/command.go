package core

import (
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/tool"
)

// Command is a wish about the calls of one process, or about the registry.
//
//sumtype:decl
type Command interface{ isCommand() }

// Tool is what the policy must know about a tool a process may use.
type Tool struct {
	Class   string
	Ordered bool     // needs the results of the calls before it, so never runs beside them
	Layers  []string // protection that is enforced when it runs
}

// Process is what is known about the process at the time of the command.
type Process struct {
	PID   string
	Ended bool            // killed or over: nothing starts any more
	Why   string          // the reason, when Ended
	Tools map[string]Tool // by name: what its spawn allows, and nothing else
}

// Request is one tool call a model asks for.
type Request struct {
	Call     chat.ToolCall
	Mistakes string // what is wrong with the arguments, for the model; "" when they fit the schema
}

// Reply brings the tool calls of one reply, in order.
type Reply struct {
	Process  Process
	Step     int
	Requests []Request
}

// Settle brings how an attempt ended: with Result, with Code and Reason, or Cancelled with Reason.
type Settle struct {
	Process    Process
	CallID     string
	Attempt    int
	Result     string
	Truncated  bool
	Code       string
	Reason     string
	Cancelled  bool
	DurationUS int64
}

// Takeover says that whoever ran an attempt is gone, its outcome unknown.
type Takeover struct {
	Process Process
	CallID  string
	Attempt int
}

// End says that the process is over: what has not started must not start.
type End struct{ Reason string }

// Publish offers the registry of this program.
type Publish struct{ Sets []tool.Set }

func (Reply) isCommand()    {}
func (Settle) isCommand()   {}
func (Takeover) isCommand() {}
func (End) isCommand()      {}
func (Publish) isCommand()  {}
