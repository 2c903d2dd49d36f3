// Package tool is what a tool is to this service: a spec for the model, an effect class and a call,
// with the argument, output and time rules every tool shares.
package tool

import (
	"context"
	"encoding/json"
	"os"

	"github.com/agentos-kernel/agentos/events/chat"
)

// Tool is one tool a model can call. Implementations are safe for concurrent use.
type Tool interface {
	// Spec is what the model is told: name, purpose and the JSON Schema of the arguments.
	Spec() chat.ToolSpec
	// Class is the effect class, one of the constants of events/tool; it decides what happens to a
	// call whose outcome a crash has hidden.
	Class() string
	// Call runs the tool. It returns once nothing of the call goes on any more: soon after ctx ends at
	// the latest. An error is a *fault.Error; its Msg and Fix are shown to the model, its cause is not.
	Call(ctx context.Context, env Env, args json.RawMessage) (string, error)
}

// Env is what one call may use beside its arguments. A tool sees nothing else of the machine.
type Env struct {
	// Workspace opens the folder file tools are confined to; the caller closes the root. It is nil for
	// tools that have no business with files.
	Workspace func() (*os.Root, error)
	// CallID and Attempt name the call; they are stable over a crash, except that Attempt grows.
	CallID  string
	Attempt int
	// OutputLimit is how many bytes of a result are kept. A tool may return more, but should stop
	// collecting soon after it.
	OutputLimit int
	// Chain is the chain hash (see chat.Extend) of all messages before this call's result. It is empty
	// for tools that do not ask for it, see Traits.
	Chain string
}

// Traits say what a tool needs from whoever runs it.
type Traits struct {
	Workspace bool // works on files: gets Env.Workspace
	Ordered   bool // needs Env.Chain, so the results before it: never runs beside another call of its reply
}
