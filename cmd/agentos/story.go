package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/audit"
	"github.com/agentos-kernel/agentos/events/catalog"
	eventcontext "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/events/learning"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// textWidth is how much of a message or reason a line shows, in characters.
const textWidth = 100

// story prints what happens to a process, one line for each fact, the model's output as it comes.
type story struct {
	out      io.Writer
	json     bool
	brief    bool // only what somebody who waits for an answer wants to see
	registry *events.Registry
	midLine  bool // output of the model stands on the line
}

func newStory(out io.Writer, asJSON, brief bool) (*story, error) {
	registry, err := catalog.New()
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "cli.story", "the events of this program clash", err)
	}
	return &story{out: out, json: asJSON, brief: brief, registry: registry}, nil
}

// output is a piece of a model's output as --json prints it between events.
type output struct {
	Delta api.Delta `json:"delta"`
	Reset bool      `json:"reset,omitempty"`
}

// tell prints one message of a stream.
func (s *story) tell(m client.Message) error {
	if m.Event != nil {
		return s.fact(*m.Event)
	}
	switch {
	case s.json:
		return writeJSON(s.out, output{Delta: *m.Delta, Reset: m.Reset})
	case m.Reset:
		return s.line("(the model begins again)")
	case m.Delta.Text == "":
		return nil
	}
	text := printable(m.Delta.Text)
	s.midLine = !strings.HasSuffix(text, "\n")
	return writef(s.out, "%s", text)
}

// fact prints one fact.
func (s *story) fact(ev api.Event) error {
	if s.json {
		return writeJSON(s.out, ev)
	}
	known, err := s.registry.Decode(events.Record{Kind: ev.Kind, SchemaVersion: ev.SchemaVersion, Data: ev.Data})
	if err != nil {
		// A newer kernel may tell facts this program does not know: they are shown as they are.
		known = unknown{kind: ev.Kind, data: ev.Data}
	}
	if s.brief && !noteworthy(known) {
		return nil
	}
	return s.line(fmt.Sprintf("%s  %-24s %s", ev.Time.Local().Format("15:04:05.000"), ev.Kind, summary(known)))
}

// line prints a line of its own, even when the model is in the middle of one.
func (s *story) line(text string) error {
	if s.midLine {
		s.midLine = false
		text = "\n" + text
	}
	return writef(s.out, "%s\n", strings.TrimRight(text, " "))
}

// unknown is a fact of a kind this program does not know.
type unknown struct {
	kind string
	data json.RawMessage
}

func (u unknown) Kind() string { return u.kind }

func (unknown) SchemaVersion() int { return 0 }

// noteworthy leaves out what services tell one another on the way.
func noteworthy(ev events.Event) bool {
	switch ev.(type) {
	case agent.StepGranted, agent.StepSettled, agent.CallObserved, eventcontext.PageWritten, eventcontext.WindowAssembled,
		llm.CallStarted, tool.CallStarted, learning.TrajectoryClosed:
		return false
	}
	return true
}

// summary is a fact in a few words.
func summary(ev events.Event) string {
	switch e := ev.(type) {
	case agent.Event:
		return agentSummary(e)
	case eventcontext.Event:
		return contextSummary(e)
	case llm.Event:
		return modelSummary(e)
	case tool.Event:
		return toolSummary(e)
	case audit.Event:
		return auditSummary(e)
	case learning.Event:
		return learningSummary(e)
	case unknown:
		return clip(string(e.data), textWidth)
	}
	return ""
}

func agentSummary(ev agent.Event) string {
	switch e := ev.(type) {
	case agent.Spawned:
		return fmt.Sprintf("%s on %s, %s, priority %d", clip(e.Name, textWidth), e.Model, e.Mode, e.Priority)
	case agent.StepGranted:
		return fmt.Sprintf("step %d, %d steps and %d tokens left", e.Step, e.RemainingSteps, e.RemainingTokens)
	case agent.StepSettled:
		return fmt.Sprintf("step %d: %s tokens in, %s out, %s", e.Step, tokenCount(e.Usage.InputTokens, e.Usage.Counted),
			tokenCount(e.Usage.OutputTokens, e.Usage.Counted), micro(e.Usage.CostMicroUSD))
	case agent.CallObserved:
		return fmt.Sprintf("step %d: %s call %s", e.Step, e.Family, e.Outcome)
	case agent.MessageReceived:
		return clip(e.Content, textWidth)
	case agent.MessageDelivered:
		return fmt.Sprintf("step %d: %s", e.Step, clip(e.Content, textWidth))
	case agent.Waiting:
		if e.Until.IsZero() {
			return "for " + e.Reason
		}
		return fmt.Sprintf("for %s until %s", e.Reason, e.Until.Local().Format("15:04:05"))
	case agent.SignalReceived:
		return e.Signal
	case agent.Completed:
		return e.Reason
	case agent.Failed:
		return fmt.Sprintf("%s: %s", e.Code, clip(e.Reason, textWidth))
	case agent.Terminated:
		return clip(e.Reason, textWidth)
	}
	return ""
}

func contextSummary(ev eventcontext.Event) string {
	switch e := ev.(type) {
	case eventcontext.PageWritten:
		return fmt.Sprintf("%s of step %d, %d tokens", e.Source.Kind, e.Source.Step, e.Tokens)
	case eventcontext.WindowAssembled:
		return fmt.Sprintf("step %d: %d messages, %d tokens, %d left out", e.Step, e.Pages, e.Tokens, e.Evicted)
	case eventcontext.WindowRefused:
		return fmt.Sprintf("step %d: %s", e.Step, clip(e.Reason, textWidth))
	}
	return ""
}

func modelSummary(ev llm.Event) string {
	switch e := ev.(type) {
	case llm.CallStarted:
		return fmt.Sprintf("step %d: %s, attempt %d", e.Call.Step, e.Model, e.Call.Attempt)
	case llm.CallRefused:
		return fmt.Sprintf("step %d: %s: %s", e.Call.Step, e.Code, clip(e.Reason, textWidth))
	case llm.CallFinished:
		said := fmt.Sprintf("step %d: %s, %s", e.Call.Step, usage(e.Usage), milliseconds(e.DurationMS))
		if len(e.Message.ToolCalls) == 0 {
			return said
		}
		names := make([]string, 0, len(e.Message.ToolCalls))
		for _, call := range e.Message.ToolCalls {
			names = append(names, clip(call.Function.Name, textWidth))
		}
		return said + ", wants " + strings.Join(names, ", ")
	case llm.CallFailed:
		return fmt.Sprintf("step %d: %s: %s", e.Call.Step, e.Code, clip(e.Reason, textWidth))
	case llm.CallCancelled:
		return fmt.Sprintf("step %d: %s, %s", e.Call.Step, clip(e.Reason, textWidth), usage(e.Usage))
	case llm.CatalogPublished:
		return fmt.Sprintf("%d models", len(e.Models))
	}
	return ""
}

func usage(u llm.Usage) string {
	cached := ""
	if u.CachedTokens > 0 {
		cached = fmt.Sprintf(" (%d cached)", u.CachedTokens)
	}
	return fmt.Sprintf("%s tokens in%s, %s out, %s", tokenCount(u.InputTokens, u.Counted), cached,
		tokenCount(u.OutputTokens, u.Counted), micro(u.CostMicroUSD))
}

func toolSummary(ev tool.Event) string {
	of := func(c tool.Call) string {
		return fmt.Sprintf("step %d: %s", c.Step, clip(c.Request.Function.Name, textWidth))
	}
	switch e := ev.(type) {
	case tool.CallDecided:
		if e.Decision == tool.Allow || e.Reason == "" { // that an ordinary call is allowed needs no explanation
			return fmt.Sprintf("%s: %s", of(e.Call), e.Decision)
		}
		return fmt.Sprintf("%s: %s, %s", of(e.Call), e.Decision, clip(e.Reason, textWidth))
	case tool.CallStarted:
		return fmt.Sprintf("%s, attempt %d", of(e.Call), e.Call.Attempt)
	case tool.CallFinished:
		return fmt.Sprintf("%s, %d bytes, %s", of(e.Call), len(e.Result), span(time.Duration(e.DurationUS)*time.Microsecond))
	case tool.CallFailed:
		return fmt.Sprintf("%s: %s: %s", of(e.Call), e.Code, clip(e.Reason, textWidth))
	case tool.CallCancelled:
		return fmt.Sprintf("%s: %s", of(e.Call), clip(e.Reason, textWidth))
	case tool.RegistryPublished:
		return fmt.Sprintf("%d sets", len(e.Sets))
	}
	return ""
}

func auditSummary(ev audit.Event) string {
	switch e := ev.(type) { //nolint:gocritic // a fold: it grows with its family
	case audit.HeadSigned:
		return fmt.Sprintf("%d entries, root %s", e.Size, e.Root)
	}
	return ""
}

func learningSummary(ev learning.Event) string {
	switch e := ev.(type) { //nolint:gocritic // a fold: it grows with its family
	case learning.TrajectoryClosed:
		return fmt.Sprintf("%s: %s after %d steps", clip(e.Name, textWidth), e.Outcome, e.Steps)
	}
	return ""
}
