package core_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/core"
)

func now() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

func spawn(mode string) agent.Spawned {
	s := core.Defaults(agent.Spawned{Task: "add", Mode: mode, Model: "replay/x", Tools: []string{}})
	s.ContextTokens = 1000
	return s
}

func fold(evs ...events.Event) core.State {
	var s core.State
	for _, e := range evs {
		s = core.Evolve(s, e)
	}
	return s
}

func kinds(evs []events.Event) []string {
	out := []string{}
	for _, e := range evs {
		out = append(out, strings.TrimPrefix(e.Kind(), "agent."))
	}
	return out
}

func reply(step int, version int64, toolCalls int) agent.CallObserved {
	o := agent.CallObserved{Family: "llm", Step: step, Version: version, Outcome: core.Finished, ToolCalls: toolCalls}
	o.Usage = agent.Usage{ModelCalls: 1, InputTokens: 10, OutputTokens: 5, CostMicroUSD: 7}
	if toolCalls == 0 {
		o.Answer = "42"
	}
	return o
}

func result(step int, version int64) agent.CallObserved {
	return agent.CallObserved{Family: "tool", Step: step, Version: version, Outcome: core.Finished, Usage: agent.Usage{ToolCalls: 1}}
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	granted := agent.StepGranted{Step: 1, Epoch: 1}
	mail := agent.MessageReceived{MessageID: "m", Content: "hi"}
	running := []events.Event{spawn(agent.ModeTask), granted}
	talking := []events.Event{spawn(agent.ModeConversation), granted}
	refused := agent.CallObserved{Family: "llm", Step: 1, Version: 1, Outcome: core.Refused, Final: true, Reason: "recording ended"}
	failed := agent.CallObserved{Family: "llm", Step: 1, Version: 1, Outcome: core.Errored, Reason: "no engine"}
	tests := []struct {
		name  string
		given []events.Event
		when  func(core.State) []events.Event
		then  []string
	}{
		{"a ready process is granted a step", []events.Event{spawn(agent.ModeTask)}, grant, []string{"step_granted"}},
		{"mail is delivered with the grant", []events.Event{spawn(agent.ModeTask), mail}, grant, []string{"message_delivered", "step_granted"}},
		{"a running process is not granted another", running, grant, []string{}},
		{"an answer completes a task", running, observe(reply(1, 1, 0)), []string{"call_observed", "step_settled", "completed"}},
		{"an answer makes a conversation wait", talking, observe(reply(1, 1, 0)), []string{"call_observed", "step_settled", "waiting"}},
		{"a process with mail does not complete", append(slices.Clone(running), mail), observe(reply(1, 1, 0)), []string{"call_observed", "step_settled"}},
		{"tool calls keep the step open", running, observe(reply(1, 1, 2)), []string{"call_observed"}},
		{"the first of two results keeps it open", append(slices.Clone(running), reply(1, 1, 2)), observe(result(1, 1)), []string{"call_observed"}},
		{"the last result settles it", append(slices.Clone(running), reply(1, 1, 2), result(1, 1)), observe(result(1, 2)), []string{"call_observed", "step_settled"}},
		{"a result heard before its reply counts", append(slices.Clone(running), result(1, 1)), observe(reply(1, 1, 1)), []string{"call_observed", "step_settled"}},
		{"a duplicate changes nothing", append(slices.Clone(running), reply(1, 1, 2)), observe(reply(1, 1, 2)), []string{}},
		{"the end of a recording completes", talking, observe(refused), []string{"call_observed", "step_settled", "completed"}},
		{"a failed model call fails the process", running, observe(failed), []string{"call_observed", "step_settled", "failed"}},
		{"kill ends at once", running, signal(core.SignalKill), []string{"signal_received", "terminated"}},
		{"terminate waits for the step", running, signal(core.SignalTerminate), []string{"signal_received"}},
		{"terminate ends a waiting process at once", append(slices.Clone(talking), agent.Waiting{Reason: "message"}), signal(core.SignalTerminate), []string{"signal_received", "terminated"}},
		{
			"a terminated step ends the process", append(slices.Clone(running), agent.SignalReceived{Signal: core.SignalTerminate}),
			observe(reply(1, 1, 0)),
			[]string{"call_observed", "step_settled", "terminated"},
		},
		{"what ends after the end is charged", append(slices.Clone(running), agent.Terminated{}), observe(reply(1, 1, 0)), []string{"call_observed"}},
		{
			"the idle limit ends a conversation", append(slices.Clone(talking), agent.Waiting{Reason: "message", Until: now()}),
			func(s core.State) []events.Event { return core.Timer(s, now()) },
			[]string{"terminated"},
		},
		{
			"before the idle limit nothing happens", append(slices.Clone(talking), agent.Waiting{Reason: "message", Until: now().Add(1)}),
			func(s core.State) []events.Event { return core.Timer(s, now()) },
			[]string{},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.then, kinds(tt.when(fold(tt.given...)))); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func grant(s core.State) []events.Event { return core.Grant(s, now()) }

func observe(o agent.CallObserved) func(core.State) []events.Event {
	return func(s core.State) []events.Event { return core.Observe(s, o, now()) }
}

func signal(name string) func(core.State) []events.Event {
	return func(s core.State) []events.Event {
		evs, err := core.Signal(s, name, now().Add(time.Second))
		if err != nil {
			return nil
		}
		return evs
	}
}

func TestLimitsEndTheProcess(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*agent.Limits){
		"steps":  func(l *agent.Limits) { l.MaxSteps = 1 },
		"tokens": func(l *agent.Limits) { l.MaxTokens = 15 },
		"cost":   func(l *agent.Limits) { l.MaxCostMicroUSD = 7 },
	} {
		s := spawn(agent.ModeTask)
		limit(&s.Limits)
		st := fold(s, agent.StepGranted{Step: 1}, reply(1, 1, 1), result(1, 1), agent.StepSettled{Step: 1})
		evs := core.Grant(st, now())
		f, ok := evs[0].(agent.Failed)
		if !ok || f.Code != "quota" {
			t.Errorf("%s: %v, want failed with quota", name, evs)
		}
	}
}

func TestBadRequestsNameWhatIsWrong(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*agent.Spawned){
		"task is empty":   func(s *agent.Spawned) { s.Task = "  " },
		"priority is 101": func(s *agent.Spawned) { s.Priority = 101 },
		"mode is":         func(s *agent.Spawned) { s.Mode = "x" },
		"model is empty":  func(s *agent.Spawned) { s.Model = "" },
		"workspace must":  func(s *agent.Spawned) { s.Workspace = "relative" },
		"max_steps":       func(s *agent.Spawned) { s.Limits.MaxSteps = -1 },
		"task has":        func(s *agent.Spawned) { s.Task = strings.Repeat("x", core.MaxTaskBytes+1) },
	} {
		s := spawn(agent.ModeTask)
		change(&s)
		err := core.Validate(s)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) || fault.FixOf(err) == "" {
			t.Errorf("got %v, want invalid with %q and a fix", err, want)
		}
	}
	s := spawn(agent.ModeTask)
	s.Task, s.Priority = "", -1
	if err := core.Validate(s); err == nil || !strings.Contains(err.Error(), "task") || !strings.Contains(err.Error(), "priority") {
		t.Errorf("got %v, want both faults named", err)
	}
}

func TestAProcessFailsWithTheCodeOfItsCall(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ outcome, code, want string }{
		{core.Refused, "quota", "quota"},
		{core.Errored, "unavailable", "unavailable"},
		{core.Refused, "", "denied"}, // facts written before they had a code
		{core.Errored, "", "internal"},
		{core.Cancelled, "", "canceled"},
	} {
		s := fold(spawn(agent.ModeTask))
		s = core.Evolve(s, core.Grant(s, now())[0])
		o := agent.CallObserved{Step: 1, Family: "llm", Version: 1, Outcome: tc.outcome, Code: tc.code}
		evs := core.Observe(s, o, now())
		if end, ok := evs[len(evs)-1].(agent.Failed); !ok || end.Code != tc.want {
			t.Errorf("%s with code %q ended with %+v, want %s", tc.outcome, tc.code, evs[len(evs)-1], tc.want)
		}
	}
}

// script draws a history of one process by deciding on random commands.
func script(t *rapid.T) (all []events.Event) {
	mode := rapid.SampledFrom([]string{agent.ModeTask, agent.ModeConversation}).Draw(t, "mode")
	all = append(all, spawn(mode))
	var llm, tool int64
	for range rapid.IntRange(0, 40).Draw(t, "commands") {
		s := fold(all...)
		var evs []events.Event
		switch rapid.IntRange(0, 6).Draw(t, "command") {
		case 0, 1:
			evs = core.Grant(s, now())
		case 2:
			llm++
			evs = core.Observe(s, reply(s.Step, llm, rapid.IntRange(0, 2).Draw(t, "tools")), now())
		case 3:
			tool++
			evs = core.Observe(s, result(s.Step, tool), now())
		case 4:
			evs, _ = core.Message(s, agent.MessageReceived{MessageID: rapid.StringN(1, 3, 3).Draw(t, "id"), Content: "x"})
		case 5:
			evs = core.Timer(s, now().Add(time.Hour))
		case 6:
			evs = signal(rapid.SampledFrom([]string{core.SignalKill, core.SignalTerminate, "x"}).Draw(t, "signal"))(s)
		}
		all = append(all, evs...)
	}
	return all
}

func TestEveryWayIsInTheTransitionTable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s core.State
		for _, e := range script(t) {
			before := s.Status
			s = core.Evolve(s, e)
			if s.Status != before && !slices.Contains(core.Transitions()[before], s.Status) {
				t.Fatalf("%s took %q to %q", e.Kind(), before, s.Status)
			}
		}
	})
}

func TestAProcessEndsOnceAndAlwaysHasAReason(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ends := 0
		all := script(t)
		for _, e := range all {
			switch e.(type) {
			case agent.Completed, agent.Failed, agent.Terminated:
				ends++
			}
		}
		s := fold(all...)
		if ends > 1 || (ends == 1) != s.Status.Ended() {
			t.Fatalf("%d ends, status %s", ends, s.Status)
		}
		if !s.Status.Ended() && s.WaitReason() == "" {
			t.Fatalf("a process that is %s waits for nothing", s.Status)
		}
	})
}

func TestObservingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := fold(script(t)...)
		again := agent.CallObserved{Family: "llm", Step: s.Step, Version: s.After.LLM, Outcome: core.Finished}
		if s.After.LLM > 0 && len(core.Observe(s, again, now())) > 0 {
			t.Fatal("a reply seen before was decided again")
		}
	})
}
