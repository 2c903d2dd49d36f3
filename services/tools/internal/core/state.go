// Package core decides about tool calls. It is pure: everything it needs to know about the world comes
// in with the command.
package core

import (
	"slices"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/tool"
)

// Phase is how far a call has come.
type Phase uint8

// The phases of a call, in their order.
const (
	Decided Phase = iota + 1 // the policy has spoken; nothing runs
	Running                  // an attempt runs, or ran when the kernel stopped
	Ended                    // finished, failed or cancelled: nothing follows
)

// Call is one call as its events tell it.
type Call struct {
	tool.Call // with the newest attempt
	Class     string
	Phase     Phase
	Hash      string // of the tool message the call ended in; "" before
}

// Codec is the version of State as JSON, of which snapshots are made: raise it when State changes, or
// what Evolve makes of a fact. A test names the change.
const Codec = 1

// State is the fold of a process's tool stream. It keeps the calls of the newest step, and older ones
// only as long as they have not ended: a process of any length has a state of a few calls. For the
// registry's stream it is the newest registry. The zero State is that of an empty stream.
type State struct {
	Step  int    // the newest step that asked for tools
	Calls []Call // by step and index
	Sets  []tool.Set
}

// Find is the call with an id.
func (s State) Find(id string) (Call, bool) {
	i := slices.IndexFunc(s.Calls, func(c Call) bool { return c.ID == id })
	if i < 0 {
		return Call{}, false
	}
	return s.Calls[i], true
}

// In lists the calls in a phase.
func (s State) In(phase Phase) []Call {
	var out []Call
	for _, c := range s.Calls {
		if c.Phase == phase {
			out = append(out, c)
		}
	}
	return out
}

// Chain is the chain hash of the messages before the result of a call, given the chain up to and
// including the reply that asked for it: the results of the calls before it in the same reply follow.
func (s State) Chain(reply string, of tool.Call) string {
	for _, c := range s.Calls {
		if c.Step == of.Step && c.Index < of.Index {
			reply = chat.Extend(reply, c.Hash)
		}
	}
	return reply
}

// Evolve folds one event of a tool stream; events of other families change nothing. It never changes
// the state it is given.
func Evolve(s State, e events.Event) State {
	te, ok := e.(tool.Event)
	if !ok {
		return s
	}
	switch e := te.(type) {
	case tool.CallDecided:
		if e.Call.Step > s.Step {
			s.Step = e.Call.Step
			s.Calls = slices.DeleteFunc(slices.Clone(s.Calls), func(c Call) bool { return c.Phase == Ended })
		}
		s.Calls = append(slices.Clip(s.Calls), Call{Call: e.Call, Class: e.Class, Phase: Decided})
	case tool.CallStarted:
		s.Calls = with(s.Calls, e.Call.ID, func(c *Call) {
			c.Phase, c.Attempt, c.Class = Running, e.Call.Attempt, e.Class
		})
	case tool.CallFinished:
		s.Calls = end(s.Calls, e.Call, e.Result)
	case tool.CallFailed:
		s.Calls = end(s.Calls, e.Call, "error: "+e.Reason)
	case tool.CallCancelled:
		s.Calls = end(s.Calls, e.Call, "error: cancelled: "+e.Reason)
	case tool.RegistryPublished:
		s.Sets = e.Sets
	}
	return s
}

// end notes that a call is over. content is what the model is shown for it: the context service writes
// the same message, and the chain hashes of both must agree.
func end(calls []Call, call tool.Call, content string) []Call {
	return with(calls, call.ID, func(c *Call) {
		c.Phase, c.Hash = Ended, chat.Result(c.Request, content).Hash()
	})
}

func with(calls []Call, id string, change func(*Call)) []Call {
	calls = slices.Clone(calls)
	for i := range calls {
		if calls[i].ID == id {
			change(&calls[i])
		}
	}
	return calls
}
