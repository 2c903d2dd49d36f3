package core_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/events/learning"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/services/learning/internal/core"
)

const pid = "p1"

// fact is a record with its decoded event.
type fact struct {
	rec   events.Record
	event events.Event
}

func at(n int) time.Time { return time.Date(2026, 3, 4, 9, 0, n, 0, time.UTC) }

// stream numbers the events of one family.
func stream(evs ...events.Event) []fact {
	out := make([]fact, len(evs))
	for i, e := range evs {
		out[i] = fact{event: e, rec: events.Record{
			Stream: events.FamilyOf(e.Kind()).Stream(pid), StreamVersion: int64(i + 1), Kind: e.Kind(), Time: at(i + 1),
		}}
	}
	return out
}

// fold applies facts in the order given and returns the trajectory's bytes.
func fold(t rapid.TB, facts []fact) (core.Head, string) {
	var head core.Head
	steps := map[int]*core.Step{}
	for i := range facts {
		var s *core.Step
		if n, ok := core.StepOf(facts[i].event); ok {
			if steps[n] == nil {
				steps[n] = &core.Step{Step: n}
			}
			s = steps[n]
		}
		core.Apply(&head, s, &facts[i].rec, facts[i].event)
	}
	all := []any{head}
	for _, n := range slices.Sorted(maps.Keys(steps)) {
		all = append(all, steps[n])
	}
	data, err := events.Encode(all)
	if err != nil {
		t.Fatal(err)
	}
	return head, string(data)
}

// streams draws one process: per family any sequence of its events over a few steps.
func streams() *rapid.Generator[[][]fact] {
	step, version := rapid.IntRange(1, 3), rapid.Int64Range(0, 9)
	text := rapid.SampledFrom([]string{"", "a", "b\x00<&>", "ü"})
	usage := rapid.Custom(func(t *rapid.T) llm.Usage {
		return llm.Usage{
			InputTokens: version.Draw(t, "in"), CachedTokens: version.Draw(t, "cached"), OutputTokens: version.Draw(t, "out"),
			CostMicroUSD: version.Draw(t, "cost"), Counted: rapid.Bool().Draw(t, "counted"), Unknown: rapid.Bool().Draw(t, "unknown"),
		}
	})
	agents := rapid.Custom(func(t *rapid.T) events.Event {
		n := step.Draw(t, "step")
		after := agent.After{LLM: version.Draw(t, "llm"), Tool: version.Draw(t, "tool")}
		return rapid.SampledFrom([]events.Event{
			agent.StepGranted{Step: n, After: after},
			agent.StepSettled{Step: n, After: after},
			agent.CallObserved{Step: n, Family: "llm", Version: after.LLM},
			agent.CallObserved{Step: n, Family: "tool", Version: after.Tool},
			agent.MessageReceived{},
			agent.MessageDelivered{MessageID: "m", Content: text.Draw(t, "content"), Step: n},
			agent.Waiting{},
			agent.SignalReceived{},
			agent.Completed{Result: text.Draw(t, "result")},
			agent.Failed{Reason: "x"},
			agent.Terminated{},
		}).Draw(t, "event")
	})
	contexts := rapid.Custom(func(t *rapid.T) events.Event {
		n := step.Draw(t, "step")
		return rapid.SampledFrom([]events.Event{
			context.WindowAssembled{Step: n, Hash: text.Draw(t, "hash")}, context.WindowRefused{Step: n, Reason: "r"}, context.PageWritten{},
		}).Draw(t, "event")
	})
	calls := rapid.Custom(func(t *rapid.T) events.Event {
		n := step.Draw(t, "step")
		c := llm.Call{ID: fmt.Sprintf("%s/%d/0", pid, n), Step: n, Attempt: rapid.IntRange(1, 3).Draw(t, "attempt")}
		u := usage.Draw(t, "usage")
		return rapid.SampledFrom([]events.Event{
			llm.CallStarted{Call: c, Lost: u},
			llm.CallRefused{Call: c},
			llm.CallFailed{Call: c, Usage: u},
			llm.CallCancelled{Call: c, Usage: u},
			llm.CallFinished{Call: c, Message: chat.Text(chat.Assistant, text.Draw(t, "reply")), Usage: u},
			llm.CatalogPublished{},
		}).Draw(t, "event")
	})
	tools := rapid.Custom(func(t *rapid.T) events.Event {
		n, i := step.Draw(t, "step"), rapid.IntRange(0, 2).Draw(t, "index")
		c := tool.Call{ID: fmt.Sprintf("%s/%d/%d", pid, n, i), Step: n, Index: i, Attempt: 1}
		return rapid.SampledFrom([]events.Event{
			tool.CallDecided{Call: c, Decision: tool.Allow},
			tool.CallStarted{Call: c},
			tool.CallFinished{Call: c, DurationUS: 3},
			tool.CallFailed{Call: c, Reason: "r"},
			tool.CallCancelled{Call: c},
			tool.RegistryPublished{},
		}).Draw(t, "event")
	})
	return rapid.Custom(func(t *rapid.T) [][]fact {
		list := func(g *rapid.Generator[events.Event], label string) []events.Event {
			return rapid.SliceOfN(g, 0, 8).Draw(t, label)
		}
		spawned := agent.Spawned{Name: "n", Task: text.Draw(t, "task"), Tools: []string{"x"}}
		return [][]fact{
			stream(append([]events.Event{spawned}, list(agents, "agent")...)...), stream(list(contexts, "context")...),
			stream(list(calls, "llm")...), stream(list(tools, "tool")...),
		}
	})
}

// shuffle draws one interleaving that keeps the order within each stream; a record may come again later.
func shuffle(t *rapid.T, streams [][]fact, label string) []fact {
	var out []fact
	next := make([]int, len(streams))
	for {
		var open []int
		for i := range streams {
			if next[i] < len(streams[i]) {
				open = append(open, i)
			}
		}
		if len(open) == 0 {
			return out
		}
		i := rapid.SampledFrom(open).Draw(t, label)
		out = append(out, streams[i][next[i]])
		next[i]++
		if rapid.IntRange(0, 4).Draw(t, "again") == 0 {
			out = append(out, streams[i][rapid.IntRange(0, next[i]-1).Draw(t, "which")])
		}
	}
}

// Whatever the order in which the streams of a process arrive, and whatever is delivered twice, the same
// bytes come out.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := streams().Draw(t, "streams")
		headA, a := fold(t, slices.Concat(s...))
		headB, b := fold(t, shuffle(t, s, "order"))
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatal(diff)
		}
		if headA.Whole() != headB.Whole() {
			t.Fatal("whole in one order only")
		}
	})
}

// What is stored and loaded between two events goes on as if it had stayed in memory.
func TestStoredStateGoesOn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		facts := shuffle(t, streams().Draw(t, "streams"), "order")
		cut := rapid.IntRange(0, len(facts)).Draw(t, "cut")
		head, want := fold(t, facts[:cut])
		data, err := events.Encode(head)
		if err != nil {
			t.Fatal(err)
		}
		back := decodeHead(t, data)
		again, err := events.Encode(back)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(data), string(again)); diff != "" {
			t.Fatalf("%s\n%s", want, diff)
		}
	})
}

// The events of a run as it is in life.
func run() [][]fact {
	call := llm.Call{ID: "p1/1/0", Step: 1, Attempt: 1}
	reply := chat.Message{Role: chat.Assistant, ToolCalls: []chat.ToolCall{{ID: "c"}, {ID: "c"}}}
	second := llm.Call{ID: "p1/2/0", Step: 2, Attempt: 1}
	lost := second
	lost.Attempt = 2
	request := chat.ToolCall{ID: "c", Function: chat.FunctionCall{Name: "calculator"}}
	t0 := tool.Call{ID: "p1/1/0", Step: 1, Index: 0, Attempt: 1, Request: request}
	t1 := tool.Call{ID: "p1/1/1", Step: 1, Index: 1, Attempt: 1, Request: request}
	return [][]fact{
		stream(
			agent.Spawned{Name: "reporter", Task: "sum", Model: "replay/x", Mode: agent.ModeTask, Priority: 50},
			agent.StepGranted{Step: 1}, agent.StepSettled{Step: 1, After: agent.After{LLM: 2, Tool: 5}},
			agent.StepGranted{Step: 2, After: agent.After{LLM: 2, Tool: 5}},
			agent.CallObserved{Step: 2, Family: "llm", Version: 5}, agent.StepSettled{Step: 2, After: agent.After{LLM: 5, Tool: 5}},
			agent.Completed{Result: "42", Reason: "answered"},
		),
		stream(context.PageWritten{}, context.WindowAssembled{Step: 1, Hash: "h1", Pages: 1, Tokens: 10}, context.WindowAssembled{Step: 2, Hash: "h2", Pages: 4, Tokens: 30}),
		stream(
			llm.CallStarted{Call: call, Model: "replay/x"},
			llm.CallFinished{Call: call, Model: "replay/x", Message: reply, FinishReason: "tool_calls", Usage: llm.Usage{InputTokens: 10, OutputTokens: 2, CostMicroUSD: 7}},
			llm.CallStarted{Call: second, Model: "replay/x"},
			llm.CallStarted{Call: lost, Model: "replay/x", Lost: llm.Usage{InputTokens: 30, CostMicroUSD: 5, Unknown: true}},
			llm.CallFinished{Call: lost, Model: "replay/x", Message: chat.Text(chat.Assistant, "42"), FinishReason: "stop", Usage: llm.Usage{InputTokens: 30, OutputTokens: 1, Counted: true}, DurationMS: 9},
		),
		stream(
			tool.CallDecided{Call: t0, Decision: tool.Allow, Rule: "r", Class: tool.Pure}, tool.CallStarted{Call: t0, Class: tool.Pure},
			tool.CallFinished{Call: t0, Result: "42", DurationUS: 12},
			tool.CallDecided{Call: t1, Decision: tool.Deny, Rule: "no"}, tool.CallFailed{Call: t1, Code: "denied", Reason: "not allowed"},
		),
	}
}

// A trajectory is whole only when the end and everything before it have arrived, in whatever order, and
// is closed once.
func TestClosing(t *testing.T) {
	t.Parallel()
	want := learning.TrajectoryClosed{
		Name: "reporter", Outcome: "completed", Steps: 2, ToolCalls: 2, InputTokens: 70, OutputTokens: 3, CostMicroUSD: 12,
	}
	rapid.Check(t, func(t *rapid.T) {
		facts := shuffle(t, run(), "order")
		var head core.Head
		var state core.State
		var got []learning.Event
		steps := map[int]*core.Step{}
		for i := range facts {
			var s *core.Step
			if n, ok := core.StepOf(facts[i].event); ok {
				if steps[n] == nil {
					steps[n] = &core.Step{Step: n}
				}
				s = steps[n]
			}
			core.Apply(&head, s, &facts[i].rec, facts[i].event)
			for _, e := range core.Decide(state, &head) {
				got = append(got, e)
				state = core.Evolve(state, e)
			}
		}
		if diff := cmp.Diff([]learning.Event{want}, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// The fold of a whole run, field by field.
func TestTrajectory(t *testing.T) {
	t.Parallel()
	facts := slices.Concat(run()...)
	head, _ := fold(t, facts)
	if diff := cmp.Diff(core.Head{
		Seen: core.Seen{Agent: 7, Context: 3, LLM: 5, Tool: 5}, Name: "reporter", Model: "replay/x", Mode: "task", Priority: 50,
		StartedAt: at(1), EndedAt: at(7), Outcome: core.Completed, Reason: "answered",
		Usage: core.Usage{
			Steps: 2, ModelCalls: 2, ToolCalls: 2, InputTokens: 70, OutputTokens: 3, CostMicroUSD: 12, Counted: true, Unknown: true,
		},
		LastStep: 2, Owed: core.Seen{LLM: 5, Tool: 5}, Open: []string{},
	}, head); diff != "" {
		t.Error(diff)
	}
	var h core.Head
	s := core.Step{Step: 1}
	for i := range facts {
		if n, ok := core.StepOf(facts[i].event); ok && n == 1 {
			core.Apply(&h, &s, &facts[i].rec, facts[i].event)
		}
	}
	if diff := cmp.Diff(core.Step{
		Step: 1, GrantedAt: at(2), SettledAt: at(3), Window: &core.Window{Hash: "h1", Pages: 1, Tokens: 10},
		Call: &core.ModelCall{
			ID: "p1/1/0", Model: "replay/x", Attempts: 1, Outcome: core.Finished, FinishReason: "tool_calls",
			Usage: core.Usage{InputTokens: 10, OutputTokens: 2, CostMicroUSD: 7}, StartedAt: at(1), EndedAt: at(2),
		},
		Tools: []core.ToolCall{
			{ID: "p1/1/0", Name: "calculator", Class: tool.Pure, Decision: tool.Allow, Rule: "r", Attempts: 1, Outcome: core.Finished, DurationUS: 12},
			{ID: "p1/1/1", Index: 1, Name: "calculator", Decision: tool.Deny, Rule: "no", Attempts: 1, Outcome: core.CallFail, Reason: "not allowed"},
		},
	}, s); diff != "" {
		t.Error(diff)
	}
}

// Every kind of the catalogue is either used by the fold or said to be irrelevant: none is forgotten.
func TestEveryKindIsKnown(t *testing.T) {
	t.Parallel()
	for _, typ := range catalog.Types() {
		var h core.Head
		var s *core.Step
		if n, ok := core.StepOf(typ.Example); ok {
			s = &core.Step{Step: n}
		}
		changed := core.Apply(&h, s, &events.Record{StreamVersion: 1}, typ.Example)
		if relevant := core.Relevant(typ.Kind); relevant && !changed {
			t.Errorf("%s is relevant and changes nothing", typ.Kind)
		}
	}
}
