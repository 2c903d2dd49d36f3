package core

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Decide turns a command into the events that follow from it; none when there is nothing new in it. A
// started event asks its reader to run that attempt. Nothing is ever refused to the caller: denials
// are events.
func Decide(s State, cmd Command) []tool.Event {
	switch c := cmd.(type) {
	case Reply:
		return decideReply(s, c)
	case Settle:
		return decideSettle(s, c)
	case Takeover:
		return decideTakeover(s, c)
	case End:
		return cancelWaiting(s, c.Reason)
	case Publish:
		return decidePublish(s, c)
	}
	return nil
}

// decidePublish compares as bytes: that is what the event would be.
func decidePublish(s State, c Publish) []tool.Event {
	offered := tool.RegistryPublished{Sets: c.Sets}
	want, err := events.Encode(offered)
	if err != nil {
		return nil // not JSON: nothing that could be published
	}
	have, err := events.Encode(tool.RegistryPublished{Sets: s.Sets})
	if err == nil && s.Sets != nil && bytes.Equal(want, have) {
		return nil
	}
	return []tool.Event{offered}
}

// CallID is our own id of a tool call.
func CallID(pid string, step, index int) string { return fmt.Sprintf("%s/%d/%d", pid, step, index) }

// decideReply judges all calls of a reply together. A step has one reply: one that is not newer than
// what was decided has been here before.
func decideReply(s State, c Reply) []tool.Event {
	if c.Step <= s.Step {
		return nil
	}
	var decided, denied []tool.Event
	var allowed []Call
	together := true
	for i, r := range c.Requests {
		call := tool.Call{ID: CallID(c.Process.PID, c.Step, i), Step: c.Step, Index: i, Attempt: 1, Request: r.Call}
		v := judge(c.Process, i, r)
		if v.code != "" {
			decided = append(decided, tool.CallDecided{Call: call, Decision: tool.Deny, Rule: v.rule, Reason: v.reason, Class: v.class})
			denied = append(denied, tool.CallFailed{Call: call, Code: v.code, Reason: v.reason})
			continue
		}
		decided = append(decided, tool.CallDecided{Call: call, Decision: tool.Allow, Rule: v.rule, Reason: v.reason, Class: v.class})
		allowed = append(allowed, Call{Call: call, Class: v.class})
		together = together && v.class == tool.Pure && !c.Process.Tools[r.Call.Function.Name].Ordered
	}
	out := slices.Concat(decided, denied)
	for i, call := range allowed {
		if together || i == 0 {
			out = append(out, started(call, 1, c.Process))
		}
	}
	return out
}

func started(c Call, attempt int, p Process) tool.Event {
	c.Attempt = attempt
	return tool.CallStarted{Call: c.Call, Class: c.Class, Layers: p.Tools[c.Request.Function.Name].Layers}
}

func decideSettle(s State, c Settle) []tool.Event {
	call, ok := open(s, c.CallID, c.Attempt)
	if !ok {
		return nil
	}
	var outcome tool.Event
	switch {
	case c.Cancelled:
		outcome = tool.CallCancelled{Call: call.Call, Reason: c.Reason}
	case c.Code != "":
		outcome = tool.CallFailed{Call: call.Call, Code: c.Code, Reason: c.Reason}
	default:
		outcome = tool.CallFinished{Call: call.Call, Result: c.Result, Truncated: c.Truncated, DurationUS: c.DurationUS}
	}
	return withNext(s, c.Process, outcome)
}

// open is the call when the attempt is the one that runs. An older attempt's outcome is nobody's.
func open(s State, id string, attempt int) (Call, bool) {
	call, ok := s.Find(id)
	return call, ok && call.Phase == Running && call.Attempt == attempt
}

func decideTakeover(s State, c Takeover) []tool.Event {
	call, ok := open(s, c.CallID, c.Attempt)
	if !ok {
		return nil
	}
	name := call.Request.Function.Name
	_, granted := c.Process.Tools[name]
	failed := func(code, reason string) []tool.Event {
		return withNext(s, c.Process, tool.CallFailed{Call: call.Call, Code: code, Reason: reason})
	}
	switch {
	case !rerunnable(call.Class):
		return failed(CodeInDoubt, name+" was cut off and may or may not have happened. Find out before calling it again.")
	case c.Process.Ended:
		return withNext(s, c.Process, tool.CallCancelled{
			Call: call.Call, Reason: "the process is over: " + c.Process.Why + "; the call was cut off and may have run",
		})
	case c.Attempt >= MaxAttempts:
		return failed(fault.Internal.String(), fmt.Sprintf("%s was cut off %d times. Go on without it.", name, c.Attempt))
	case !granted:
		return failed(fault.Unavailable.String(), fmt.Sprintf("the tool %q is gone. Go on without it.", name))
	}
	return []tool.Event{started(call, c.Attempt+1, c.Process)}
}

// withNext is an outcome and what it makes room for: when nothing else of the process runs, the first
// call that waits. A waiting call whose tool is gone meanwhile fails, and the next one has its turn.
func withNext(s State, p Process, outcome tool.Event) []tool.Event {
	out := []tool.Event{outcome}
	s = Evolve(s, outcome)
	if p.Ended {
		return append(out, cancelWaiting(s, p.Why)...)
	}
	if len(s.In(Running)) > 0 {
		return out
	}
	for _, call := range s.In(Decided) {
		name := call.Request.Function.Name
		if _, ok := p.Tools[name]; ok {
			return append(out, started(call, 1, p))
		}
		out = append(out, tool.CallFailed{
			Call: call.Call, Code: fault.Unavailable.String(), Reason: fmt.Sprintf("the tool %q is gone. Go on without it.", name),
		})
	}
	return out
}

func cancelWaiting(s State, reason string) []tool.Event {
	var out []tool.Event
	for _, call := range s.In(Decided) {
		out = append(out, tool.CallCancelled{Call: call.Call, Reason: "the process is over: " + reason})
	}
	return out
}
