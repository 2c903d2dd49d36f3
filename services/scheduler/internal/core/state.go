// Package core decides about processes: pure functions from state and command to facts.
package core

import (
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
)

// Status is the state of a process as users see it.
type Status string

// The states of a process. Transitions() lists the ways between them.
const (
	Created    Status = "created"
	Ready      Status = "ready"
	Running    Status = "running"
	Waiting    Status = "waiting"
	Completed  Status = "completed"
	Failed     Status = "failed"
	Terminated Status = "terminated"
)

// Ended reports whether a process in this state never runs again.
func (s Status) Ended() bool { return s == Completed || s == Failed || s == Terminated }

// Transitions is the one table of ways between states; a fold that would take another is a defect.
func Transitions() map[Status][]Status {
	return map[Status][]Status{
		"":      {Ready},
		Ready:   {Running, Waiting, Completed, Failed, Terminated},
		Running: {Ready, Failed, Terminated}, // a settled step makes the process ready; what follows is decided then
		Waiting: {Ready, Failed, Terminated},
	}
}

// Codec is the version of State as JSON, of which snapshots are made: raise it when State changes, or
// what Evolve makes of a fact. A test names the change.
const Codec = 1

// State is the fold of one process's stream. The zero State is a process that does not exist.
type State struct {
	Spawn  agent.Spawned
	Status Status
	Wait   agent.Waiting // while Status is Waiting

	Step      int                // last granted
	Epoch     int                // grants of older epochs must not start
	After     agent.After        // versions of the llm and tool streams seen
	ModelDone bool               // the current step's model call has ended
	ToolsDone int                // tool calls of the current step that have ended; may run ahead of ModelDone
	Outcome   agent.CallObserved // how the current step's model call ended
	StepUsage agent.Usage
	Usage     agent.Usage // of all settled steps, and of what was observed since

	Mail   []agent.MessageReceived // not yet delivered
	Signal agent.SignalReceived    // zero when there is none

	Answer string // last answer of the model without tool calls
	Result string
	Reason string
	Code   string
}

// Exists reports whether the process was spawned.
func (s State) Exists() bool { return s.Status != "" }

// stepDone reports whether all calls of the current step have ended. Facts of two topics come in any
// order: a tool's result may be heard before the reply that asked for it.
func (s State) stepDone() bool { return s.ModelDone && s.ToolsDone >= s.Outcome.ToolCalls }

// InStep reports whether a granted step has not been settled.
func (s State) InStep() bool { return s.Status == Running }

// WaitReason is what a process that does not compute waits for, "" when it has ended.
func (s State) WaitReason() string {
	switch s.Status {
	case Ready, Created:
		return agent.WaitSlot
	case Running:
		if s.ModelDone {
			return agent.WaitTool
		}
		return agent.WaitModel
	case Waiting:
		return s.Wait.Reason
	case Completed, Failed, Terminated:
		return ""
	}
	return ""
}

// TimerAt is when the process must be looked at again, zero for never.
func (s State) TimerAt() time.Time {
	if s.Status.Ended() {
		return time.Time{}
	}
	if s.Signal.Signal != "" {
		return s.Signal.Deadline
	}
	if s.Status == Waiting {
		return s.Wait.Until
	}
	return time.Time{}
}

// Evolve folds one fact into the state.
func Evolve(s State, e events.Event) State {
	a, ok := e.(agent.Event)
	if !ok {
		return s
	}
	switch e := a.(type) {
	case agent.Spawned:
		s.Spawn, s.Status = e, Ready
	case agent.StepGranted:
		s.Status, s.Step, s.Epoch = Running, e.Step, e.Epoch
		s.ModelDone, s.ToolsDone, s.StepUsage, s.Outcome = false, 0, agent.Usage{Steps: 1}, agent.CallObserved{}
		s.Usage.Steps++
	case agent.CallObserved:
		s = observe(s, e)
	case agent.StepSettled:
		if !s.Status.Ended() {
			s.Status = Ready
		}
	case agent.MessageReceived:
		s.Mail = append(s.Mail, e)
		if s.Status == Waiting {
			s.Status, s.Wait = Ready, agent.Waiting{}
		}
	case agent.MessageDelivered:
		if len(s.Mail) > 0 {
			s.Mail = s.Mail[1:]
		}
	case agent.Waiting:
		s.Status, s.Wait = Waiting, e
	case agent.SignalReceived:
		s.Signal = e
	case agent.Completed:
		s.Status, s.Result, s.Reason = Completed, e.Result, e.Reason
	case agent.Failed:
		s.Status, s.Reason, s.Code = Failed, e.Reason, e.Code
	case agent.Terminated:
		s.Status, s.Reason = Terminated, e.Reason
	}
	return s
}

func observe(s State, e agent.CallObserved) State {
	s.StepUsage = add(s.StepUsage, e.Usage)
	s.Usage = add(s.Usage, e.Usage)
	if e.Family == string(events.LLM) {
		s.After.LLM = max(s.After.LLM, e.Version)
		if e.Step == s.Step {
			s.ModelDone, s.Outcome = true, e
			if e.Outcome == Finished && e.Answer != "" {
				s.Answer = e.Answer
			}
		}
		return s
	}
	s.After.Tool = max(s.After.Tool, e.Version)
	if e.Step == s.Step {
		s.ToolsDone++
	}
	return s
}

func add(a, b agent.Usage) agent.Usage {
	a.Steps += b.Steps
	a.ModelCalls += b.ModelCalls
	a.ToolCalls += b.ToolCalls
	a.InputTokens += b.InputTokens
	a.CachedTokens += b.CachedTokens
	a.OutputTokens += b.OutputTokens
	a.CostMicroUSD += b.CostMicroUSD
	a.Counted = a.Counted || b.Counted
	return a
}
