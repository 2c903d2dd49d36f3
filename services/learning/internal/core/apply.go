package core

import (
	"slices"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
)

// StepOf is the number of the step an event changes; false for events that change the head alone.
func StepOf(e events.Event) (int, bool) {
	switch e := e.(type) {
	case agent.Spawned, agent.Completed:
		return 0, true
	case agent.StepGranted:
		return e.Step, true
	case agent.StepSettled:
		return e.Step, true
	case agent.MessageDelivered:
		return e.Step, true
	case context.WindowAssembled:
		return e.Step, true
	case context.WindowRefused:
		return e.Step, true
	case llm.CallStarted:
		return e.Call.Step, true
	case llm.CallRefused:
		return e.Call.Step, true
	case llm.CallFinished:
		return e.Call.Step, true
	case llm.CallFailed:
		return e.Call.Step, true
	case llm.CallCancelled:
		return e.Call.Step, true
	case tool.CallDecided:
		return e.Call.Step, true
	case tool.CallStarted:
		return e.Call.Step, true
	case tool.CallFinished:
		return e.Call.Step, true
	case tool.CallFailed:
		return e.Call.Step, true
	case tool.CallCancelled:
		return e.Call.Step, true
	}
	return 0, false
}

// Apply folds one event of the process into its head and, if [StepOf] names one, its step s; else s may be
// nil. It reports whether anything changed: a record at or below the version seen is a duplicate.
func Apply(h *Head, s *Step, r *events.Record, e events.Event) bool {
	if n, ok := StepOf(e); ok {
		if s == nil || s.Step != n {
			return false
		}
	}
	switch e := e.(type) {
	case agent.Event:
		if !advance(&h.Seen.Agent, r) {
			return false
		}
		applyAgent(h, s, r, e)
	case context.Event:
		if !advance(&h.Seen.Context, r) {
			return false
		}
		applyContext(s, e)
	case llm.Event:
		if !advance(&h.Seen.LLM, r) {
			return false
		}
		applyLLM(h, s, r, e)
	case tool.Event:
		if !advance(&h.Seen.Tool, r) {
			return false
		}
		applyTool(h, s, e)
	default:
		return false
	}
	if s != nil {
		h.LastStep = max(h.LastStep, s.Step)
	}
	return true
}

func advance(seen *int64, r *events.Record) bool {
	if r.StreamVersion <= *seen {
		return false
	}
	*seen = r.StreamVersion
	return true
}

func applyAgent(h *Head, s *Step, r *events.Record, e agent.Event) {
	switch e := e.(type) {
	case agent.Spawned:
		h.Name, h.Model, h.Mode, h.Priority, h.Parent = e.Name, e.Model, e.Mode, e.Priority, e.Parent
		h.StartedAt = r.Time.UTC()
		s.Frame = &Frame{Task: e.Task, System: e.System, Tools: e.Tools, Workspace: e.Workspace}
	case agent.StepGranted:
		h.owe(e.After)
		s.GrantedAt = r.Time.UTC()
	case agent.StepSettled:
		h.owe(e.After)
		h.Usage.Steps++
		s.SettledAt = r.Time.UTC()
	case agent.CallObserved:
		if events.Family(e.Family) == events.LLM {
			h.owe(agent.After{LLM: e.Version})
		} else {
			h.owe(agent.After{Tool: e.Version})
		}
	case agent.MessageReceived:
		h.Messages++
	case agent.MessageDelivered:
		s.Messages = append(s.Messages, Message{ID: e.MessageID, Content: e.Content})
	case agent.Completed:
		h.end(r, Completed, e.Reason, "")
		if s.Frame == nil {
			s.Frame = &Frame{}
		}
		s.Frame.Result = e.Result
	case agent.Failed:
		h.end(r, Failed, e.Reason, e.Code)
	case agent.Terminated:
		h.end(r, Terminated, e.Reason, e.Signal)
	case agent.Waiting, agent.SignalReceived:
	}
}

func (h *Head) owe(after agent.After) {
	h.Owed.LLM, h.Owed.Tool = max(h.Owed.LLM, after.LLM), max(h.Owed.Tool, after.Tool)
}

func (h *Head) end(r *events.Record, outcome, reason, code string) {
	h.EndedAt, h.Outcome, h.Reason, h.Code = r.Time.UTC(), outcome, reason, code
}

func applyContext(s *Step, e context.Event) {
	switch e := e.(type) {
	case context.WindowAssembled:
		s.Window = &Window{Hash: e.Hash, Pages: e.Pages, Tokens: e.Tokens, Evicted: e.Evicted}
	case context.WindowRefused:
		s.Window = &Window{Refused: e.Reason}
	case context.PageWritten:
	}
}

func applyLLM(h *Head, s *Step, r *events.Record, e llm.Event) {
	switch e := e.(type) {
	case llm.CallStarted:
		c := s.call(e.Call)
		c.Model, c.Outcome, c.Reason = e.Model, Running, ""
		if c.StartedAt.IsZero() {
			c.StartedAt = r.Time.UTC()
		}
		h.charge(c, e.Lost)
		h.open(events.LLM, e.Call.ID)
	case llm.CallRefused:
		c := s.call(e.Call)
		c.Outcome, c.Reason, c.EndedAt = Refused, e.Reason, r.Time.UTC()
		h.close(events.LLM, e.Call.ID)
	case llm.CallFinished:
		c := s.ended(h, r, e.Call, Finished, "", e.Usage)
		c.Model, c.FinishReason, c.Reply = e.Model, e.FinishReason, e.Message.String()
		c.FirstTokenMS, c.DurationMS = e.FirstTokenMS, e.DurationMS
	case llm.CallFailed:
		s.ended(h, r, e.Call, CallFail, e.Reason, e.Usage)
	case llm.CallCancelled:
		s.ended(h, r, e.Call, Cancelled, e.Reason, e.Usage)
	case llm.CatalogPublished:
	}
}

// call is the step's model call, made if it is not there yet.
func (s *Step) call(c llm.Call) *ModelCall {
	if s.Call == nil {
		s.Call = &ModelCall{ID: c.ID}
	}
	s.Call.Attempts = max(s.Call.Attempts, c.Attempt)
	return s.Call
}

func (s *Step) ended(h *Head, r *events.Record, call llm.Call, outcome, reason string, u llm.Usage) *ModelCall {
	c := s.call(call)
	c.Outcome, c.Reason, c.EndedAt = outcome, reason, r.Time.UTC()
	h.charge(c, u)
	h.Usage.ModelCalls++
	h.close(events.LLM, call.ID)
	return c
}

// charge adds what a call, or a lost attempt of it, has used to the call and to the process.
func (h *Head) charge(c *ModelCall, u llm.Usage) {
	for _, to := range []*Usage{&h.Usage, &c.Usage} {
		to.InputTokens += u.InputTokens
		to.CachedTokens += u.CachedTokens
		to.OutputTokens += u.OutputTokens
		to.CostMicroUSD += u.CostMicroUSD
		to.Counted = to.Counted || u.Counted
		to.Unknown = to.Unknown || u.Unknown
	}
}

func applyTool(h *Head, s *Step, e tool.Event) {
	switch e := e.(type) {
	case tool.CallDecided:
		c := s.tool(e.Call)
		c.Decision, c.Rule, c.Class, c.Outcome = e.Decision, e.Rule, e.Class, Running
		h.open(events.Tool, e.Call.ID)
	case tool.CallStarted:
		c := s.tool(e.Call)
		c.Class, c.Outcome = e.Class, Running
		h.open(events.Tool, e.Call.ID)
	case tool.CallFinished:
		c := s.endedTool(h, e.Call, Finished, "")
		c.Truncated, c.DurationUS = e.Truncated, e.DurationUS
	case tool.CallFailed:
		s.endedTool(h, e.Call, CallFail, e.Reason)
	case tool.CallCancelled:
		s.endedTool(h, e.Call, Cancelled, e.Reason)
	case tool.RegistryPublished:
	}
}

// tool is the step's tool call of an index, made in its place if it is not there yet.
func (s *Step) tool(c tool.Call) *ToolCall {
	i, found := slices.BinarySearchFunc(s.Tools, c.Index, func(t ToolCall, index int) int { return t.Index - index })
	if !found {
		s.Tools = slices.Insert(s.Tools, i, ToolCall{ID: c.ID, Index: c.Index, Name: c.Request.Function.Name})
	}
	s.Tools[i].Attempts = max(s.Tools[i].Attempts, c.Attempt)
	return &s.Tools[i]
}

func (s *Step) endedTool(h *Head, call tool.Call, outcome, reason string) *ToolCall {
	c := s.tool(call)
	c.Outcome, c.Reason = outcome, reason
	h.Usage.ToolCalls++
	h.close(events.Tool, call.ID)
	return c
}

func (h *Head) open(f events.Family, id string) {
	key := string(f) + ":" + id
	if i, found := slices.BinarySearch(h.Open, key); !found {
		h.Open = slices.Insert(h.Open, i, key)
	}
}

func (h *Head) close(f events.Family, id string) {
	if i, found := slices.BinarySearch(h.Open, string(f)+":"+id); found {
		h.Open = slices.Delete(h.Open, i, i+1)
	}
}
