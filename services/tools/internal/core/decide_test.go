package core_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/services/tools/internal/core"
)

const pid = "ptest"

func process() core.Process {
	return core.Process{PID: pid, Tools: map[string]core.Tool{
		"calc":   {Class: tool.Pure, Layers: []string{"schema"}},
		"read":   {Class: tool.Pure},
		"write":  {Class: tool.Idempotent},
		"replay": {Class: tool.Pure, Ordered: true},
		"pay":    {Class: tool.Irreversible},
	}}
}

func over() core.Process {
	p := process()
	p.Ended, p.Why = true, "killed"
	return p
}

func without(name string) core.Process {
	p := process()
	delete(p.Tools, name)
	return p
}

func request(name string) core.Request {
	return core.Request{Call: chat.ToolCall{ID: "x", Type: "function", Function: chat.FunctionCall{Name: name, Arguments: "{}"}}}
}

func reply(step int, names ...string) core.Reply {
	r := core.Reply{Process: process(), Step: step}
	for _, n := range names {
		r.Requests = append(r.Requests, request(n))
	}
	return r
}

func settle(id string, attempt int, result string) core.Settle {
	return core.Settle{Process: process(), CallID: id, Attempt: attempt, Result: result}
}

func id(step, index int) string { return core.CallID(pid, step, index) }

// short tells events in a few words.
func short(decided []tool.Event) []string {
	out := []string{}
	for _, e := range decided {
		switch e := e.(type) {
		case tool.CallDecided:
			out = append(out, fmt.Sprintf("%s %s %s %s", e.Decision, e.Call.ID, e.Rule, e.Class))
		case tool.CallStarted:
			out = append(out, fmt.Sprintf("start %s #%d", e.Call.ID, e.Call.Attempt))
		case tool.CallFinished:
			out = append(out, fmt.Sprintf("finish %s #%d %s", e.Call.ID, e.Call.Attempt, e.Result))
		case tool.CallFailed:
			out = append(out, fmt.Sprintf("fail %s #%d %s", e.Call.ID, e.Call.Attempt, e.Code))
		case tool.CallCancelled:
			out = append(out, fmt.Sprintf("cancel %s #%d", e.Call.ID, e.Call.Attempt))
		case tool.RegistryPublished:
			out = append(out, fmt.Sprintf("publish %d", len(e.Sets)))
		}
	}
	return out
}

func play(commands ...core.Command) core.State {
	var s core.State
	for _, c := range commands {
		for _, e := range core.Decide(s, c) {
			s = core.Evolve(s, e)
		}
	}
	return s
}

type row struct {
	name  string
	given []core.Command
	when  core.Command
	then  []string
}

func check(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(append([]string{}, r.then...), short(core.Decide(play(r.given...), r.when))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReply(t *testing.T) {
	t.Parallel()
	mistaken := reply(1, "calc")
	mistaken.Requests[0].Mistakes = "wrong arguments"
	dead := reply(1, "calc")
	dead.Process = over()
	check(t, []row{
		{"one call", nil, reply(1, "calc"), []string{"allow ptest/1/0 spawn-grants pure", "start ptest/1/0 #1"}},
		{"no calls", nil, reply(1), nil},
		{"pure ones run together", nil, reply(2, "calc", "read"), []string{
			"allow ptest/2/0 spawn-grants pure", "allow ptest/2/1 spawn-grants pure", "start ptest/2/0 #1", "start ptest/2/1 #1",
		}},
		{"others one after the other", nil, reply(1, "calc", "write"), []string{
			"allow ptest/1/0 spawn-grants pure", "allow ptest/1/1 spawn-grants idempotent", "start ptest/1/0 #1",
		}},
		{"replays one after the other", nil, reply(1, "replay", "replay"), []string{
			"allow ptest/1/0 spawn-grants pure", "allow ptest/1/1 spawn-grants pure", "start ptest/1/0 #1",
		}},
		{"not granted", nil, reply(1, "rm"), []string{"deny ptest/1/0 tool-granted ", "fail ptest/1/0 #1 denied"}},
		{"denied beside allowed", nil, reply(1, "rm", "write", "calc"), []string{
			"deny ptest/1/0 tool-granted ", "allow ptest/1/1 spawn-grants idempotent", "allow ptest/1/2 spawn-grants pure",
			"fail ptest/1/0 #1 denied", "start ptest/1/1 #1",
		}},
		{"arguments", nil, mistaken, []string{"deny ptest/1/0 arguments pure", "fail ptest/1/0 #1 invalid"}},
		{"process over", nil, dead, []string{"deny ptest/1/0 process-alive pure", "fail ptest/1/0 #1 denied"}},
		{"twice", []core.Command{reply(1, "calc")}, reply(1, "calc"), nil},
		{"twice, all denied", []core.Command{reply(1, "rm")}, reply(1, "rm"), nil},
		{"an old one again", []core.Command{reply(1, "calc"), settle(id(1, 0), 1, "3"), reply(2, "calc")}, reply(1, "calc"), nil},
	})
}

func TestReplyReasons(t *testing.T) {
	t.Parallel()
	many := reply(1)
	for range core.MaxCallsPerReply + 2 {
		many.Requests = append(many.Requests, request("calc"))
	}
	failed, started := 0, 0
	for _, e := range core.Decide(core.State{}, many) {
		if _, ok := e.(tool.CallFailed); ok {
			failed++
		}
		if _, ok := e.(tool.CallStarted); ok {
			started++
		}
	}
	if failed != 2 || started != core.MaxCallsPerReply {
		t.Errorf("%d failed, %d started", failed, started)
	}
	got := core.Decide(core.State{}, reply(1, "rm"))
	want := tool.CallFailed{
		Call: tool.Call{ID: "ptest/1/0", Step: 1, Attempt: 1, Request: request("rm").Call}, Code: "denied",
		Reason: `there is no tool "rm" for this process. Use one of: calc, pay, read, replay, write.`,
	}
	if diff := cmp.Diff(tool.Event(want), got[1]); diff != "" {
		t.Error(diff)
	}
	bare := reply(1, "rm")
	bare.Process.Tools = nil
	if e, ok := core.Decide(core.State{}, bare)[1].(tool.CallFailed); !ok || !strings.Contains(e.Reason, "has no tools") {
		t.Errorf("got %+v", e)
	}
	if e, ok := core.Decide(core.State{}, reply(1, "calc"))[1].(tool.CallStarted); !ok || !cmp.Equal(e.Layers, []string{"schema"}) {
		t.Errorf("got %+v", e)
	}
}

func TestSettle(t *testing.T) {
	t.Parallel()
	two := []core.Command{reply(1, "write", "calc")}
	gone := settle(id(1, 0), 1, "ok")
	gone.Process = without("calc")
	dead := settle(id(1, 0), 1, "ok")
	dead.Process = over()
	check(t, []row{
		{"result", []core.Command{reply(1, "calc")}, settle(id(1, 0), 1, "3"), []string{"finish ptest/1/0 #1 3"}},
		{"error", []core.Command{reply(1, "calc")}, core.Settle{Process: process(), CallID: id(1, 0), Attempt: 1, Code: "invalid"}, []string{"fail ptest/1/0 #1 invalid"}},
		{"cancelled", []core.Command{reply(1, "calc")}, core.Settle{Process: process(), CallID: id(1, 0), Attempt: 1, Cancelled: true}, []string{"cancel ptest/1/0 #1"}},
		{"starts the next", two, settle(id(1, 0), 1, "ok"), []string{"finish ptest/1/0 #1 ok", "start ptest/1/1 #1"}},
		{"waits for others", []core.Command{reply(1, "calc", "read")}, settle(id(1, 0), 1, "ok"), []string{"finish ptest/1/0 #1 ok"}},
		{"next tool is gone", two, gone, []string{"finish ptest/1/0 #1 ok", "fail ptest/1/1 #1 unavailable"}},
		{"process over meanwhile", two, dead, []string{"finish ptest/1/0 #1 ok", "cancel ptest/1/1 #1"}},
		{"twice", []core.Command{reply(1, "calc"), settle(id(1, 0), 1, "3")}, settle(id(1, 0), 1, "3"), nil},
		{"another attempt's", []core.Command{reply(1, "calc")}, settle(id(1, 0), 2, "3"), nil},
		{"unknown", nil, settle(id(1, 0), 1, "3"), nil},
		{"one that has not started", two, settle(id(1, 1), 1, "3"), nil},
		{"late one of an older step", []core.Command{reply(1, "calc"), settle(id(1, 0), 1, "3"), reply(2, "calc")}, settle(id(1, 0), 1, "3"), nil},
	})
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	take := func(p core.Process, attempt int) core.Takeover {
		return core.Takeover{Process: p, CallID: id(1, 0), Attempt: attempt}
	}
	worn := []core.Command{reply(1, "calc")}
	for a := 1; a < core.MaxAttempts; a++ {
		worn = append(worn, take(process(), a))
	}
	check(t, []row{
		{"pure", []core.Command{reply(1, "calc")}, take(process(), 1), []string{"start ptest/1/0 #2"}},
		{"idempotent", []core.Command{reply(1, "write")}, take(process(), 1), []string{"start ptest/1/0 #2"}},
		{"irreversible", []core.Command{reply(1, "pay", "calc")}, take(process(), 1), []string{"fail ptest/1/0 #1 in_doubt", "start ptest/1/1 #1"}},
		{"again", []core.Command{reply(1, "calc"), take(process(), 1)}, take(process(), 1), nil},
		{"the second attempt", []core.Command{reply(1, "calc"), take(process(), 1)}, take(process(), 2), []string{"start ptest/1/0 #3"}},
		{"too often", worn, take(process(), core.MaxAttempts), []string{fmt.Sprintf("fail ptest/1/0 #%d internal", core.MaxAttempts)}},
		{"process over", []core.Command{reply(1, "calc", "write")}, take(over(), 1), []string{"cancel ptest/1/0 #1", "cancel ptest/1/1 #1"}},
		{"process over, irreversible", []core.Command{reply(1, "pay")}, take(over(), 1), []string{"fail ptest/1/0 #1 in_doubt"}},
		{"tool gone", []core.Command{reply(1, "calc")}, take(without("calc"), 1), []string{"fail ptest/1/0 #1 unavailable"}},
		{"ended already", []core.Command{reply(1, "calc"), settle(id(1, 0), 1, "")}, take(process(), 1), nil},
		{"late outcome of the old attempt", []core.Command{reply(1, "calc"), take(process(), 1)}, settle(id(1, 0), 1, "3"), nil},
		{"outcome of the new attempt", []core.Command{reply(1, "calc"), take(process(), 1)}, settle(id(1, 0), 2, "3"), []string{"finish ptest/1/0 #2 3"}},
	})
}

func TestEnd(t *testing.T) {
	t.Parallel()
	end := core.End{Reason: "killed"}
	check(t, []row{
		{"nothing", nil, end, nil},
		{"waiting ones", []core.Command{reply(1, "write", "calc", "rm")}, end, []string{"cancel ptest/1/1 #1"}},
		{"twice", []core.Command{reply(1, "write", "calc"), end}, end, nil},
		{"the running one ends", []core.Command{reply(1, "write", "calc"), end}, settle(id(1, 0), 1, "ok"), []string{"finish ptest/1/0 #1 ok"}},
	})
}

func TestPublish(t *testing.T) {
	t.Parallel()
	sets := func(parameters string) core.Publish {
		return core.Publish{Sets: []tool.Set{{Name: "builtin", Tools: []tool.Tool{{Spec: chat.ToolSpec{Name: "t", Parameters: []byte(parameters)}}}}}}
	}
	check(t, []row{
		{"first", nil, sets(`{}`), []string{"publish 1"}},
		{"same", []core.Command{sets(`{}`)}, sets(`{ }`), nil},
		{"changed", []core.Command{sets(`{}`)}, sets(`{"type":"object"}`), []string{"publish 1"}},
		{"none", nil, core.Publish{}, []string{"publish 0"}},
		{"not JSON", nil, sets(`{`), nil},
	})
}

// The chain of a later call runs over the messages the context service makes of the results before.
func TestChain(t *testing.T) {
	t.Parallel()
	s := play(reply(3, "rm", "replay", "replay"), settle(id(3, 1), 1, "result"))
	second, ok := s.Find(id(3, 2))
	if !ok || second.Phase != core.Running {
		t.Fatalf("second call: %+v", second)
	}
	call := func(index int) chat.ToolCall { c, _ := s.Find(id(3, index)); return c.Request }
	want := chat.Extend("reply", chat.Result(call(0), `error: there is no tool "rm" for this process. Use one of: calc, pay, read, replay, write.`).Hash())
	if first, _ := s.Find(id(3, 1)); s.Chain("reply", first.Call) != want {
		t.Error("wrong chain of the first call")
	}
	want = chat.Extend(want, chat.Result(call(1), "result").Hash())
	if s.Chain("reply", second.Call) != want {
		t.Error("wrong chain of the second call")
	}
}

func TestEvolve(t *testing.T) {
	t.Parallel()
	s := play(reply(1, "calc", "calc"))
	before := cmp.Diff(core.State{}, s)
	_ = core.Evolve(s, tool.CallFinished{Call: tool.Call{ID: id(1, 0)}})
	_ = core.Evolve(s, tool.CallDecided{Call: tool.Call{ID: id(2, 0), Step: 2}})
	if after := cmp.Diff(core.State{}, s); before != after {
		t.Error("Evolve changed the state it was given")
	}
	if diff := cmp.Diff(s, core.Evolve(s, agent.Completed{})); diff != "" {
		t.Errorf("a foreign event changed the state: %s", diff)
	}
	// Many steps: the state stays small.
	for step := 2; step < 100; step++ {
		for _, c := range []core.Command{reply(step, "calc"), settle(id(step, 0), 1, "1")} {
			for _, e := range core.Decide(s, c) {
				s = core.Evolve(s, e)
			}
		}
	}
	if len(s.Calls) > 3 {
		t.Errorf("%d calls are kept", len(s.Calls))
	}
}
