package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

const tiny = "openai/" + kernel.EngineModel

func toolCall(id, name, arguments string) chat.ToolCall {
	return chat.ToolCall{ID: id, Type: "function", Function: chat.FunctionCall{Name: name, Arguments: arguments}}
}

// words is a text in n pieces.
func words(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("word%d ", i)
	}
	return all
}

// script is how the test's engine answers each task.
func script(c kernel.EngineCall) kernel.EngineAnswer {
	switch c.Task {
	case "compute":
		return compute(c)
	case "keep a note":
		if c.Number == 1 {
			return kernel.EngineAnswer{Calls: []chat.ToolCall{toolCall("n", "write_file", `{"path":"note.txt","content":"kept"}`)}}
		}
	case "talk long", "be stopped":
		return kernel.EngineAnswer{Pieces: words(400), Pause: 50 * time.Millisecond}
	case "finish in time":
		return kernel.EngineAnswer{Pieces: words(20), Pause: 50 * time.Millisecond}
	case "come back later":
		if c.Number == 1 {
			return kernel.EngineAnswer{Status: 429, RetryAfter: "1"}
		}
	case "break once":
		return kernel.EngineAnswer{Pieces: words(6), Pause: 50 * time.Millisecond, Cut: c.Number == 1}
	case "always refuse":
		return kernel.EngineAnswer{Status: 400}
	}
	return kernel.EngineAnswer{Pieces: []string{"done"}}
}

// compute uses two tools in the first step, one in the second, then answers.
func compute(c kernel.EngineCall) kernel.EngineAnswer {
	switch c.Number {
	case 1:
		return kernel.EngineAnswer{Pieces: []string{"I ", "compute."}, Calls: []chat.ToolCall{
			toolCall("a", "calculator", `{"expression":"6*7"}`), toolCall("b", "calculator", `{"expression":"2+3"}`),
		}}
	case 2:
		return kernel.EngineAnswer{Cached: 5, Calls: []chat.ToolCall{toolCall("a", "write_file", `{"path":"out.txt","content":"42"}`)}}
	}
	return kernel.EngineAnswer{Cached: 9, Pieces: []string{"The results are ", c.Messages[2].String(), c.Messages[3].String()}}
}

// TestModelServer: what the kernel promises about a real model server, with one of the test's own.
func TestModelServer(t *testing.T) {
	t.Parallel()
	e := kernel.NewEngine(t, script)
	k := kernel.Up(t, e.Env())
	//nolint:paralleltest // what is measured must not be disturbed
	for _, tc := range []struct {
		name string
		run  func(*testing.T, *kernel.Kernel, *kernel.Engine)
	}{
		{"a task with tool calls runs to its end and its usage is what the engine reported", usageIsReported},
		{"a process without a workspace of the user's gets one of its own", ownWorkspace},
		{"kill in mid-answer frees the engine", killFreesEngine},
		{"terminate lets the answer finish within the grace time", terminateFinishes},
		{"terminate cuts the answer after the grace time", terminateCuts},
		{"a 429 is tried again after the time it names", retriesAfter},
		{"the stream of events shows an answer as it comes and can be resumed", streamResumes},
		{"an answer that breaks off begins again with a reset", brokenAnswerResets},
		{"a client that goes away does not touch the run", clientGoes},
		{"a refused request fails the process with the engine's reason", refusedFails},
		{"an engine that is gone fails the process with a reason", engineGone}, // the last: it takes the engine away
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, k, e) })
	}
}

func spawn(t *testing.T, k *kernel.Kernel, spec api.AgentSpec) api.Agent {
	t.Helper()
	if spec.Model == "" {
		spec.Model = tiny
	}
	a, err := k.Client.Spawn(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wait(t *testing.T, k *kernel.Kernel, pid string) api.Agent {
	t.Helper()
	a, err := k.Client.Wait(t.Context(), pid)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ownWorkspace(t *testing.T, k *kernel.Kernel, _ *kernel.Engine) {
	t.Helper()
	a := wait(t, k, spawn(t, k, api.AgentSpec{Task: "keep a note", Tools: []string{"write_file"}}).PID)
	if a.State != api.StateCompleted || filepath.Base(a.Workspace) != a.PID {
		t.Fatalf("%s in workspace %q: %+v", a.State, a.Workspace, a.Error)
	}
	if note, err := os.ReadFile(filepath.Join(a.Workspace, "note.txt")); err != nil || string(note) != "kept" {
		t.Fatalf("the note is %q, %v", note, err)
	}
}

func usageIsReported(t *testing.T, k *kernel.Kernel, e *kernel.Engine) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "compute", Tools: []string{"calculator", "write_file"}})
	a = wait(t, k, a.PID)
	if a.State != api.StateCompleted || a.Result != "The results are 425" {
		t.Fatalf("%s: %q, %+v", a.State, a.Result, a.Error)
	}
	want, got := e.Usage("compute"), a.Usage
	if got.InputTokens != want.Input || got.OutputTokens != want.Output || got.CachedTokens != want.Cached ||
		got.ModelCalls != want.Calls || got.ToolCalls != 3 || got.Steps != 3 || got.Counted {
		t.Errorf("usage %+v, the engine reported %+v", got, want)
	}
	kernel.Once(t, k.Client, a.PID)
}

func killFreesEngine(t *testing.T, k *kernel.Kernel, e *kernel.Engine) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "be stopped"})
	awaitText(t, k, a.PID)
	asked := time.Now()
	if _, err := k.Client.Signal(t.Context(), a.PID, api.SignalSpec{Signal: api.SignalKill}); err != nil {
		t.Fatal(err)
	}
	select {
	case at := <-e.Gone("be stopped"):
		took := at.Sub(asked)
		fmt.Printf("kill: the engine was free %.1f ms after the request\n", float64(took)/float64(time.Millisecond))
		if took > time.Second {
			t.Errorf("the engine was busy for %s", took)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the engine is still busy")
	}
	kernel.AwaitState(t, k.Client, a.PID, api.StateTerminated)
	evs := kernel.AwaitEvent(t, k.Client, a.PID, "llm.call_cancelled")
	if c := kernel.Of[llm.CallCancelled](t, evs, "llm.call_cancelled"); len(c) != 1 || c[0].Usage.OutputTokens == 0 || !c[0].Usage.Counted {
		t.Errorf("cancelled %+v", c)
	}
}

// awaitText waits until a model's answer has begun to come.
func awaitText(t *testing.T, k *kernel.Kernel, pid string) {
	t.Helper()
	s := kernel.OpenStream(t, k.URL, k.Key, pid, "deltas=true", "")
	defer s.Close()
	for m := range s.Frames {
		if m.Name == "delta" {
			return
		}
	}
	t.Fatal("the stream ended without any text")
}

func terminateFinishes(t *testing.T, k *kernel.Kernel, e *kernel.Engine) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "finish in time"})
	awaitText(t, k, a.PID)
	grace := 30
	if _, err := k.Client.Signal(t.Context(), a.PID, api.SignalSpec{Signal: api.SignalTerminate, GraceSeconds: &grace}); err != nil {
		t.Fatal(err)
	}
	a = wait(t, k, a.PID)
	evs := kernel.Events(t, k.Client, a.PID)
	if a.State != api.StateTerminated || len(kernel.Of[llm.CallFinished](t, evs, "llm.call_finished")) != 1 || e.Usage("finish in time").Calls != 1 {
		t.Errorf("%s, usage %+v", a.State, a.Usage)
	}
}

func terminateCuts(t *testing.T, k *kernel.Kernel, e *kernel.Engine) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "talk long"})
	awaitText(t, k, a.PID)
	grace := 1
	if _, err := k.Client.Signal(t.Context(), a.PID, api.SignalSpec{Signal: api.SignalTerminate, GraceSeconds: &grace}); err != nil {
		t.Fatal(err)
	}
	a = wait(t, k, a.PID)
	if a.State != api.StateTerminated || a.Error == nil || !strings.Contains(a.Error.Reason, "grace") {
		t.Errorf("%s: %+v", a.State, a.Error)
	}
	<-e.Gone("talk long")
	kernel.AwaitEvent(t, k.Client, a.PID, "llm.call_cancelled")
}

func retriesAfter(t *testing.T, k *kernel.Kernel, e *kernel.Engine) {
	t.Helper()
	begin := time.Now()
	a := wait(t, k, spawn(t, k, api.AgentSpec{Task: "come back later"}).PID)
	if a.State != api.StateCompleted || e.Requests("come back later") != 2 || time.Since(begin) < time.Second {
		t.Errorf("%s after %s and %d requests: %+v", a.State, time.Since(begin), e.Requests("come back later"), a.Error)
	}
	if c := kernel.Of[llm.CallFinished](t, kernel.Events(t, k.Client, a.PID), "llm.call_finished"); len(c) != 1 || c[0].Tries != 2 {
		t.Errorf("finished %+v", c)
	}
}

func refusedFails(t *testing.T, k *kernel.Kernel, e *kernel.Engine) {
	t.Helper()
	a := wait(t, k, spawn(t, k, api.AgentSpec{Task: "always refuse"}).PID)
	if a.State != api.StateFailed || a.Error.Code != "invalid" || !strings.Contains(a.Error.Reason, "status 400 was asked for") || e.Requests("always refuse") != 1 {
		t.Errorf("%s: %+v", a.State, a.Error)
	}
}

func engineGone(t *testing.T, k *kernel.Kernel, e *kernel.Engine) {
	t.Helper()
	e.Close()
	a := wait(t, k, spawn(t, k, api.AgentSpec{Task: "anybody there?"}).PID)
	if a.State != api.StateFailed || a.Error.Code != "unavailable" || !strings.Contains(a.Error.Reason, "check that the server runs") {
		t.Errorf("%s: %+v", a.State, a.Error)
	}
	if ran := kernel.CLI(t, k.Home, "run", "--json", "--model", tiny, "anybody there?"); ran.Code == 0 || !strings.Contains(ran.ErrOut, `"unavailable"`) {
		t.Errorf("agentos run of a failing task ended with %d: %s", ran.Code, ran.ErrOut)
	}
}
