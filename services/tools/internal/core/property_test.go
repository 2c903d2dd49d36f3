package core_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/services/tools/internal/core"
)

// world is a process's calls under random commands, with what must hold checked at every event.
type world struct {
	state   core.State
	log     []tool.Event
	starts  map[string]int // newest attempt
	ended   map[string]int
	decided map[string]string
	over    bool
}

func (w *world) do(t *rapid.T, c core.Command) {
	decided := core.Decide(w.state, c)
	for _, e := range decided {
		w.see(t, e)
		w.state = core.Evolve(w.state, e)
		w.log = append(w.log, e)
	}
	running := w.state.In(core.Running)
	for _, r := range running {
		if len(running) > 1 && (r.Class != tool.Pure || r.Request.Function.Name == "replay") {
			t.Fatalf("%s runs beside another call", r.ID)
		}
	}
	if again := core.Decide(w.state, c); len(again) > 0 {
		t.Fatalf("the same command again gave %v", short(again))
	}
}

func (w *world) see(t *rapid.T, e tool.Event) {
	end := func(call tool.Call) {
		if w.ended[call.ID]++; w.ended[call.ID] > 1 {
			t.Fatalf("%s ended twice", call.ID)
		}
		if started := w.starts[call.ID]; started > 0 && started != call.Attempt {
			t.Fatalf("%s ended in attempt %d, attempt %d runs", call.ID, call.Attempt, started)
		}
	}
	switch e := e.(type) {
	case tool.CallDecided:
		if w.decided[e.Call.ID] != "" {
			t.Fatalf("%s decided twice", e.Call.ID)
		}
		w.decided[e.Call.ID] = e.Decision
	case tool.CallStarted:
		if w.over {
			t.Fatalf("%s started after the end", e.Call.ID)
		}
		if w.decided[e.Call.ID] != tool.Allow || w.ended[e.Call.ID] > 0 || e.Call.Attempt != w.starts[e.Call.ID]+1 {
			t.Fatalf("%s: attempt %d started after %d, %q", e.Call.ID, e.Call.Attempt, w.starts[e.Call.ID], w.decided[e.Call.ID])
		}
		if e.Call.Attempt > 1 && (e.Class == tool.Irreversible) {
			t.Fatalf("%s happened twice", e.Call.ID)
		}
		w.starts[e.Call.ID] = e.Call.Attempt
	case tool.CallFinished:
		end(e.Call)
	case tool.CallFailed:
		end(e.Call)
	case tool.CallCancelled:
		end(e.Call)
	case tool.RegistryPublished:
		t.Fatal("nobody published")
	}
}

func (w *world) process() core.Process {
	if w.over {
		return over()
	}
	return process()
}

// random is a command of any kind about any call, fitting or not.
func (w *world) random(t *rapid.T, step *int) core.Command {
	callID := id(rapid.IntRange(1, *step+1).Draw(t, "call step"), rapid.IntRange(0, 3).Draw(t, "index"))
	attempt := rapid.IntRange(1, 3).Draw(t, "attempt")
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0, 1, 2:
		if len(w.state.In(core.Running)) == 0 && rapid.Bool().Draw(t, "new step") {
			*step++
		}
		r := reply(*step, rapid.SliceOfN(rapid.SampledFrom([]string{"calc", "read", "write", "replay", "pay", "rm"}), 1, 4).Draw(t, "tools")...)
		r.Process = w.process()
		for i := range r.Requests {
			if rapid.IntRange(0, 5).Draw(t, "mistaken") == 0 {
				r.Requests[i].Mistakes = "wrong"
			}
		}
		return r
	case 3, 4, 5, 6:
		s := core.Settle{Process: w.process(), CallID: callID, Attempt: attempt, Result: "r"}
		if rapid.Bool().Draw(t, "failed") {
			s.Code = "internal"
		}
		s.Cancelled = rapid.Bool().Draw(t, "cancelled")
		return s
	case 7, 8:
		return core.Takeover{Process: w.process(), CallID: callID, Attempt: attempt}
	}
	if rapid.IntRange(0, 3).Draw(t, "end") == 0 {
		w.over = true
		return core.End{Reason: "killed"}
	}
	return core.Takeover{Process: w.process(), CallID: callID, Attempt: attempt}
}

// Whatever comes, in whatever order, once or twice: no attempt starts twice, every call ends once,
// nothing that may not happen twice does, nothing starts after the end, and the fold of the log is the
// state.
func TestProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{starts: map[string]int{}, ended: map[string]int{}, decided: map[string]string{}}
		step := 1
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			w.do(t, w.random(t, &step))
		}
		// Let everything that runs come to its end: then nothing may be left open.
		for range 1000 {
			running := w.state.In(core.Running)
			if len(running) == 0 {
				break
			}
			w.do(t, core.Settle{Process: w.process(), CallID: running[0].ID, Attempt: running[0].Attempt, Result: "r"})
		}
		for callID := range w.decided {
			if w.ended[callID] != 1 {
				t.Fatalf("%s ended %d times", callID, w.ended[callID])
			}
		}
		var replayed core.State
		for _, e := range w.log {
			replayed = core.Evolve(replayed, e)
		}
		if diff := cmp.Diff(w.state, replayed); diff != "" {
			t.Fatal(diff)
		}
	})
}
