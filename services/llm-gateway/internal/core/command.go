package core

import (
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
)

// Command is a wish to change the state of a process's model calls.
//
//sumtype:decl
type Command interface{ isCommand() }

// Start asks for the model call of a step. A Refusal that was found outside (unknown model, ended
// process, end of a recording) comes with it, so that it is recorded like all others.
type Start struct {
	ID              string // "<pid>/<step>/0"
	Step            int
	Epoch           int
	Model           string
	Provider        string
	WindowHash      string
	PromptTokens    int64 // counted by us
	WantTokens      int   // most output tokens the grant allows; 0: DefaultMaxTokens
	RemainingTokens int64 // of the process; negative: no limit
	RemainingMicro  int64 // of the process; negative: no limit
	ContextTokens   int   // of the model; 0: unknown
	Price           Price
	Refusal         *Refusal
	Broken          string // why the window cannot be sent: the call fails before it starts
}

// Refusal says why a call must not start.
type Refusal struct {
	Code   string // a fault kind, or llm.CodeRecordingEnded
	Reason string // what is wrong and what to do
}

// Finish is a reply. Call names the attempt it belongs to.
type Finish struct {
	Call         llm.Call
	Message      chat.Message
	FinishReason string
	Usage        llm.Usage
	FirstTokenMS int64
	DurationMS   int64
	Tries        int
}

// Fail is the end of an attempt by an error.
type Fail struct {
	Call   llm.Call
	Code   string
	Reason string
	Usage  llm.Usage
}

// Cancel is the end of an attempt that was stopped.
type Cancel struct {
	Call   llm.Call
	Reason string
	Usage  llm.Usage
}

// TakeOver says that the attempt was lost in a crash: nobody will report its outcome.
type TakeOver struct {
	Call  llm.Call
	Ended bool // the process has ended: the call is cancelled, not repeated
	Free  bool // attempts cost nothing, as in a replay
}

// Publish makes the catalogue known; its subject is RegistrySubject.
type Publish struct{ Models []llm.Model }

// RegistrySubject is the subject of the stream that holds the catalogue.
const RegistrySubject = "registry"

func (Start) isCommand()    {}
func (Finish) isCommand()   {}
func (Fail) isCommand()     {}
func (Cancel) isCommand()   {}
func (TakeOver) isCommand() {}
func (Publish) isCommand()  {}
