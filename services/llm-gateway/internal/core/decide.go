package core

import (
	"fmt"
	"slices"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Limits of a call.
const (
	DefaultMaxTokens = 4096 // output tokens when the grant names no limit
	MaxAttempts      = 3    // of a call whose attempts cost money
)

// Decide says what a command makes of a state. Commands that come twice or too late give no facts.
func Decide(s State, c Command) []events.Event {
	switch c := c.(type) {
	case Start:
		return start(s, c)
	case Finish:
		if !s.running(c.Call) {
			return nil
		}
		return []events.Event{llm.CallFinished{
			Call: c.Call, Model: s.Open.Model, WindowHash: s.Open.WindowHash, Message: c.Message,
			FinishReason: c.FinishReason, Usage: c.Usage, FirstTokenMS: c.FirstTokenMS, DurationMS: c.DurationMS,
			Tries: c.Tries,
		}}
	case Fail:
		if !s.running(c.Call) {
			return nil
		}
		return []events.Event{llm.CallFailed{Call: c.Call, Code: c.Code, Reason: c.Reason, Usage: c.Usage}}
	case Cancel:
		if !s.running(c.Call) {
			return nil
		}
		return []events.Event{llm.CallCancelled{Call: c.Call, Reason: c.Reason, Usage: c.Usage}}
	case TakeOver:
		return takeOver(s, c)
	case Publish:
		if slices.Equal(s.Catalog, c.Models) {
			return nil
		}
		return []events.Event{llm.CatalogPublished{Models: c.Models}}
	}
	return nil
}

// running reports whether this very attempt is the open one.
func (s State) running(c llm.Call) bool {
	return s.Open != nil && s.Open.Call.ID == c.ID && s.Open.Call.Attempt == c.Attempt
}

// Stale reports whether a window for this step and epoch starts nothing: its call has ended or runs, or
// its grant no longer counts.
func (s State) Stale(step, epoch int) bool {
	return step <= s.Done || epoch < s.Epoch || (s.Open != nil && s.Open.Call.Step >= step)
}

func start(s State, c Start) []events.Event {
	if s.Stale(c.Step, c.Epoch) {
		return nil
	}
	call := llm.Call{ID: c.ID, Step: c.Step, Epoch: c.Epoch, Attempt: 1}
	if s.Open != nil {
		return refuse(call, fault.Conflict.String(), "the model call of step %d still runs", s.Open.Call.Step)
	}
	if c.Refusal != nil {
		return []events.Event{llm.CallRefused{Call: call, Code: c.Refusal.Code, Reason: c.Refusal.Reason}}
	}
	if c.Broken != "" {
		return []events.Event{llm.CallFailed{Call: call, Code: fault.Internal.String(), Reason: c.Broken}}
	}
	most, refusal := affordable(c)
	if refusal != nil {
		return []events.Event{llm.CallRefused{Call: call, Code: refusal.Code, Reason: refusal.Reason}}
	}
	return []events.Event{llm.CallStarted{
		Call: call, Model: c.Model, Provider: c.Provider, WindowHash: c.WindowHash, MaxTokens: int(most),
		ReservedTokens: c.PromptTokens + most,
		ReservedMicro:  c.Price.Reserve(c.PromptTokens, most),
	}}
}

// affordable is the number of output tokens the call may have within grant, budget and model.
func affordable(c Start) (int64, *Refusal) {
	most := int64(c.WantTokens)
	if most <= 0 {
		most = DefaultMaxTokens
	}
	if c.RemainingTokens >= 0 {
		if c.RemainingTokens <= c.PromptTokens {
			return 0, quota("the token budget is used up: %d tokens are left and the prompt alone has about %d; "+
				"start the agent with a larger max_tokens", c.RemainingTokens, c.PromptTokens)
		}
		most = min(most, c.RemainingTokens-c.PromptTokens)
	}
	if c.ContextTokens > 0 {
		if int64(c.ContextTokens) <= c.PromptTokens {
			return 0, quota("the prompt has about %d tokens and %s takes %d; use a model with a larger context",
				c.PromptTokens, c.Model, c.ContextTokens)
		}
		most = min(most, int64(c.ContextTokens)-c.PromptTokens)
	}
	if c.RemainingMicro >= 0 {
		if !c.Price.Known {
			return 0, &Refusal{Code: fault.Denied.String(), Reason: fmt.Sprintf("the price of %s is unknown and the agent has "+
				"a cost limit, which could not be kept; remove max_cost_usd or use a model with a known price (see /v1/models)", c.Model)}
		}
		buys := c.Price.Affordable(c.RemainingMicro, c.PromptTokens)
		if buys < 1 {
			return 0, quota("the cost budget is used up: %d millionths of a dollar are left, less than the prompt and one token cost; "+
				"start the agent with a larger max_cost_usd", c.RemainingMicro)
		}
		most = min(most, buys)
	}
	return most, nil
}

func quota(format string, args ...any) *Refusal {
	return &Refusal{Code: fault.Quota.String(), Reason: fmt.Sprintf(format, args...)}
}

func refuse(call llm.Call, code, format string, args ...any) []events.Event {
	return []events.Event{llm.CallRefused{Call: call, Code: code, Reason: fmt.Sprintf(format, args...)}}
}

// takeOver repeats a lost attempt. Whether the provider charged it nobody knows: it is charged at its
// reservation and marked so, unless attempts are free.
func takeOver(s State, c TakeOver) []events.Event {
	if !s.running(c.Call) {
		return nil
	}
	lost := llm.Usage{}
	if !c.Free {
		lost = llm.Usage{
			InputTokens:  s.Open.ReservedTokens - int64(s.Open.MaxTokens),
			OutputTokens: int64(s.Open.MaxTokens),
			CostMicroUSD: s.Open.ReservedMicro, Counted: true, Unknown: true,
		}
	}
	if c.Ended {
		return []events.Event{llm.CallCancelled{Call: s.Open.Call, Reason: "the process ended while the call was lost in a crash", Usage: lost}}
	}
	if !c.Free && s.Open.Call.Attempt >= MaxAttempts {
		return []events.Event{llm.CallFailed{
			Call: s.Open.Call, Code: fault.Unavailable.String(), Usage: lost,
			Reason: fmt.Sprintf("%d attempts of the call were lost in crashes", s.Open.Call.Attempt),
		}}
	}
	next := s.Open.Call
	next.Attempt++
	return []events.Event{llm.CallStarted{
		Call: next, Model: s.Open.Model, Provider: s.Open.Provider, WindowHash: s.Open.WindowHash, MaxTokens: s.Open.MaxTokens,
		ReservedTokens: s.Open.ReservedTokens, ReservedMicro: s.Open.ReservedMicro, Lost: lost,
	}}
}
