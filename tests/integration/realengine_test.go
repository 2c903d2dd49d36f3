package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// TestRealEngine runs against a real engine, whose URL with /v1 AGENTOS_TEST_ENGINE gives: a task comes to
// its end with its answer streamed and its usage reported; kill stops another in mid-answer. Nothing is
// asserted about the words of a model.
func TestRealEngine(t *testing.T) { //nolint:paralleltest // what is measured must not be disturbed
	url := os.Getenv("AGENTOS_TEST_ENGINE")
	if url == "" {
		t.Skip("opt-in: set AGENTOS_TEST_ENGINE to the URL (…/v1) of an engine with the OpenAI interface")
	}
	k := kernel.Up(t, []string{"OPENAI_BASE_URL=" + url, "OPENAI_API_KEY=none", "OLLAMA_HOST=127.0.0.1:1"})
	models, err := k.Client.Models(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	model := ""
	for _, m := range models {
		if m.Source == api.SourceProvider {
			model = m.ID
		}
	}
	if model == "" || model == "openai/*" {
		t.Fatalf("the engine at %s names no model: %+v", url, models)
	}
	streamed(t, k, model)
	killed(t, k, model)
	withTools(t, k, model)
}

func streamed(t *testing.T, k *kernel.Kernel, model string) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "Tell a story about a lighthouse.", Model: model, Limits: api.Limits{MaxOutputTokens: 60}})
	frames := kernel.OpenStream(t, k.URL, k.Key, a.PID, "deltas=true&after=0", "").All()
	a = wait(t, k, a.PID)
	var text strings.Builder
	pieces := 0
	for _, f := range frames {
		if f.Name == "delta" {
			text.WriteString(delta(t, f).Text)
			pieces++
		}
	}
	done := kernel.Of[llm.CallFinished](t, kernel.Events(t, k.Client, a.PID), "llm.call_finished")
	if a.State != api.StateCompleted || len(done) != 1 || text.String() != a.Result {
		t.Fatalf("%s (%+v): streamed %q, answer %q", a.State, a.Error, text.String(), a.Result)
	}
	u := done[0].Usage
	if u.Counted || u.OutputTokens == 0 || u.InputTokens != a.Usage.InputTokens || u.OutputTokens != a.Usage.OutputTokens {
		t.Errorf("the engine reported %+v, the process used %+v", u, a.Usage)
	}
	fmt.Printf("%s: %d pieces, first after %d ms, %d ms in all, %d tokens in (%d cached), %d out\n", model, pieces,
		done[0].FirstTokenMS, done[0].DurationMS, u.InputTokens, u.CachedTokens, u.OutputTokens)
}

func killed(t *testing.T, k *kernel.Kernel, model string) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "Count from one to one thousand in words.", Model: model, Limits: api.Limits{MaxOutputTokens: 1000}})
	awaitText(t, k, a.PID)
	asked := time.Now()
	if _, err := k.Client.Signal(t.Context(), a.PID, api.SignalSpec{Signal: api.SignalKill}); err != nil {
		t.Fatal(err)
	}
	evs := kernel.AwaitEvent(t, k.Client, a.PID, "llm.call_cancelled")
	fmt.Printf("%s: the call was recorded as cancelled %.0f ms after the request\n", model, time.Since(asked).Seconds()*1000)
	kernel.AwaitState(t, k.Client, a.PID, api.StateTerminated)
	if c := kernel.Of[llm.CallCancelled](t, evs, "llm.call_cancelled"); len(c) != 1 || c[0].Usage.OutputTokens == 0 {
		t.Errorf("cancelled %+v", c)
	}
	// An engine with one slot answers the next one only when it is free.
	begin := time.Now()
	a = wait(t, k, spawn(t, k, api.AgentSpec{Task: "Say hello.", Model: model, Limits: api.Limits{MaxOutputTokens: 4}}).PID)
	fmt.Printf("%s: the next answer was there after %.1f s: %s\n", model, time.Since(begin).Seconds(), a.State)
	if a.State != api.StateCompleted {
		t.Errorf("%s: %+v", a.State, a.Error)
	}
}

// withTools offers tools; what a model makes of them is its own affair, but the process must come to an end.
func withTools(t *testing.T, k *kernel.Kernel, model string) {
	t.Helper()
	space := kernel.CopyData(t, k.Roots, "real")
	a := wait(t, k, spawn(t, k, api.AgentSpec{
		Task: "Read targets.txt and answer with its first line.", Model: model, Workspace: space,
		Tools: []string{"list_dir", "read_file"}, Limits: api.Limits{MaxSteps: 4, MaxOutputTokens: 80},
	}).PID)
	if a.State != api.StateCompleted && (a.Error == nil || a.Error.Code != "quota") {
		t.Errorf("%s: %+v", a.State, a.Error)
	}
	kernel.Once(t, k.Client, a.PID)
	fmt.Printf("%s with tools: %s, %d steps, %d tool calls\n", model, a.State, a.Usage.Steps, a.Usage.ToolCalls)
}
