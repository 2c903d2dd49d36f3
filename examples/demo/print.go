package main

import (
	"encoding/json"
	"fmt"

	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/client"
)

// printer shows a process's events as they happen.
type printer struct{}

func (printer) event(m client.Message) error {
	if m.Event == nil {
		return nil
	}
	at, data := m.Event.Time.Format("15:04:05.000"), m.Event.Data
	switch m.Event.Kind {
	case "agent.step_granted":
		line[agent.StepGranted](data, func(e agent.StepGranted) { fmt.Printf("  %s step %d granted\n", at, e.Step) })
	case "llm.call_finished":
		line[llm.CallFinished](data, func(e llm.CallFinished) {
			fmt.Printf("  %s model %s: %d tokens in, %d out, $%.6f, %d ms, asks for %d tool calls\n", at, e.Model,
				e.Usage.InputTokens, e.Usage.OutputTokens, float64(e.Usage.CostMicroUSD)/1e6, e.DurationMS, len(e.Message.ToolCalls))
		})
	case "llm.call_failed":
		line[llm.CallFailed](data, func(e llm.CallFailed) { fmt.Printf("  %s model call failed: %s\n", at, e.Reason) })
	case "llm.call_refused":
		line[llm.CallRefused](data, func(e llm.CallRefused) { fmt.Printf("  %s model call refused: %s\n", at, e.Reason) })
	case "tool.call_decided":
		line[tool.CallDecided](data, func(e tool.CallDecided) {
			fmt.Printf("  %s tool %s %.80s: %s (%s)\n", at, e.Call.Request.Function.Name, e.Call.Request.Function.Arguments, e.Decision, e.Rule)
		})
	case "tool.call_finished":
		line[tool.CallFinished](data, func(e tool.CallFinished) {
			fmt.Printf("  %s tool %s finished in %d µs\n", at, e.Call.Request.Function.Name, e.DurationUS)
		})
	case "tool.call_failed":
		line[tool.CallFailed](data, func(e tool.CallFailed) {
			fmt.Printf("  %s tool %s failed: %s\n", at, e.Call.Request.Function.Name, e.Reason)
		})
	case "agent.completed", "agent.failed", "agent.terminated":
		fmt.Printf("  %s %s\n", at, m.Event.Kind)
	}
	return nil
}

func line[T any](data json.RawMessage, show func(T)) {
	var v T
	if json.Unmarshal(data, &v) == nil {
		show(v)
	}
}
