package core

import (
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/learning"
)

// State is the fold of a stream "learning/<pid>".
type State struct{ Closed bool }

// Decide closes a trajectory once, when it is whole.
func Decide(s State, h *Head) []learning.Event {
	if s.Closed || !h.Whole() {
		return nil
	}
	return []learning.Event{learning.TrajectoryClosed{
		Name: h.Name, Outcome: h.Outcome, Steps: h.Usage.Steps, ToolCalls: h.Usage.ToolCalls,
		InputTokens: h.Usage.InputTokens, OutputTokens: h.Usage.OutputTokens, CostMicroUSD: h.Usage.CostMicroUSD,
	}}
}

// Evolve folds the service's own events.
func Evolve(s State, e events.Event) State {
	if _, ok := e.(learning.TrajectoryClosed); ok {
		s.Closed = true
	}
	return s
}
