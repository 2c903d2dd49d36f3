package handle

import (
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/core"
)

// modelCall is what a model fact means for the process; false for facts that end no call.
func modelCall(e llm.Event, version int64) (agent.CallObserved, bool) {
	o := agent.CallObserved{Family: string(events.LLM), Version: version}
	switch e := e.(type) {
	case llm.CallFinished:
		o.Step, o.Outcome, o.ToolCalls = e.Call.Step, core.Finished, len(e.Message.ToolCalls)
		if o.ToolCalls == 0 {
			o.Answer = e.Message.String()
		}
		o.Usage = usage(e.Usage)
	case llm.CallFailed:
		o.Step, o.Outcome, o.Reason, o.Usage = e.Call.Step, core.Errored, e.Reason, usage(e.Usage)
		o.Code = e.Code
	case llm.CallCancelled:
		o.Step, o.Outcome, o.Reason, o.Usage = e.Call.Step, core.Cancelled, e.Reason, usage(e.Usage)
	case llm.CallRefused:
		o.Step, o.Outcome, o.Reason, o.Code = e.Call.Step, core.Refused, e.Reason, e.Code
		if e.Code == llm.CodeRecordingEnded {
			o.Final, o.Reason = true, "recording ended"
		}
	case llm.CallStarted, llm.CatalogPublished:
		return o, false
	}
	return o, true
}

func usage(u llm.Usage) agent.Usage {
	return agent.Usage{
		ModelCalls: 1, InputTokens: u.InputTokens, CachedTokens: u.CachedTokens, OutputTokens: u.OutputTokens,
		CostMicroUSD: u.CostMicroUSD, Counted: u.Counted,
	}
}

// toolCall is what a tool fact means for the process; false for facts that end no call.
func toolCall(e tool.Event, version int64) (agent.CallObserved, bool) {
	o := agent.CallObserved{Family: string(events.Tool), Version: version, Usage: agent.Usage{ToolCalls: 1}}
	switch e := e.(type) {
	case tool.CallFinished:
		o.Step, o.Outcome = e.Call.Step, core.Finished
	case tool.CallFailed:
		o.Step, o.Outcome, o.Reason = e.Call.Step, core.Errored, e.Reason
	case tool.CallCancelled:
		o.Step, o.Outcome, o.Reason = e.Call.Step, core.Cancelled, e.Reason
	case tool.CallDecided, tool.CallStarted, tool.RegistryPublished:
		return o, false
	}
	return o, true
}
