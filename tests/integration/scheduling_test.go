package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// TestScheduling: one slot, and processes that want it.
func TestScheduling(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	e := kernel.NewEngine(t, func(c kernel.EngineCall) kernel.EngineAnswer {
		switch c.Task {
		case "hold the slot":
			select {
			case <-release:
			case <-time.After(time.Minute):
			}
		case "never stop":
			return kernel.EngineAnswer{Calls: []chat.ToolCall{toolCall("a", "calculator", `{"expression":"1+1"}`)}}
		}
		return kernel.EngineAnswer{Pieces: []string{"done"}}
	})
	k := kernel.Up(t, e.Env(), "--slots", "1")
	//nolint:paralleltest // they share the one slot
	t.Run("the lower number runs first, and of equals the first to come", func(t *testing.T) { priorities(t, k, release) })
	t.Run("the limits of steps and tokens end a process", func(t *testing.T) { limits(t, k) })                     //nolint:paralleltest // see above
	t.Run("a conversation waits for a message until its idle limit ends it", func(t *testing.T) { idle(t, k) })    //nolint:paralleltest // see above
	t.Run("a message that waits is delivered with the next step", func(t *testing.T) { mailIsDelivered(t, k, e) }) //nolint:paralleltest // see above
}

func priorities(t *testing.T, k *kernel.Kernel, release chan struct{}) {
	t.Helper()
	holder := spawn(t, k, api.AgentSpec{Task: "hold the slot"})
	kernel.AwaitEvent(t, k.Client, holder.PID, "llm.call_started")
	if a, err := k.Client.Agent(t.Context(), holder.PID); err != nil || a.State != api.StateRunning || a.Wait == nil || a.Wait.Reason != "model" {
		t.Errorf("the holder is %s, waits for %+v, %v", a.State, a.Wait, err)
	}
	type entry struct {
		pid  string
		rank string
	}
	var want []entry
	for i, priority := range []int{50, 90, 10, 50, 0, 10} {
		a := spawn(t, k, api.AgentSpec{Task: "take a turn", Priority: &priority})
		want = append(want, entry{a.PID, fmt.Sprintf("%03d/%d", priority, i)})
	}
	for _, w := range want {
		if a, err := k.Client.Agent(t.Context(), w.pid); err != nil || a.State != api.StateReady || a.Wait == nil || a.Wait.Reason != "slot" {
			t.Errorf("%s is %s, waits for %+v, %v", w.rank, a.State, a.Wait, err)
		}
	}
	close(release)
	granted := map[string]int64{}
	for _, w := range want {
		wait(t, k, w.pid)
		for _, ev := range kernel.Events(t, k.Client, w.pid) {
			if ev.Kind == "agent.step_granted" {
				granted[w.pid] = ev.Position
			}
		}
	}
	got := slices.Clone(want)
	slices.SortFunc(got, func(a, b entry) int { return int(granted[a.pid] - granted[b.pid]) })
	slices.SortFunc(want, func(a, b entry) int { return strings.Compare(a.rank, b.rank) })
	if !slices.Equal(got, want) {
		t.Errorf("they ran in the order %v, want %v", got, want)
	}
}

func limits(t *testing.T, k *kernel.Kernel) {
	t.Helper()
	tools := []string{"calculator"}
	for _, tc := range []struct {
		name   string
		limits api.Limits
		reason string
	}{
		{"steps", api.Limits{MaxSteps: 3}, "step limit reached: 3 of 3"},
		{"tokens", api.Limits{MaxTokens: 150}, "token"},
	} {
		a := wait(t, k, spawn(t, k, api.AgentSpec{Task: "never stop", Tools: tools, Limits: tc.limits}).PID)
		if a.State != api.StateFailed || a.Error.Code != "quota" || !strings.Contains(a.Error.Reason, tc.reason) {
			t.Errorf("%s: %s %+v", tc.name, a.State, a.Error)
		}
		if used := a.Usage.InputTokens + a.Usage.OutputTokens; tc.limits.MaxTokens > 0 && used > tc.limits.MaxTokens {
			t.Errorf("%d tokens used", used)
		}
		if tc.limits.MaxSteps > 0 && a.Usage.Steps != tc.limits.MaxSteps {
			t.Errorf("%d steps used", a.Usage.Steps)
		}
	}
}

func idle(t *testing.T, k *kernel.Kernel) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "hello", Mode: api.ModeConversation, Limits: api.Limits{IdleSeconds: 2}})
	a = kernel.AwaitState(t, k.Client, a.PID, api.StateWaiting)
	if a.Wait == nil || a.Wait.Reason != "message" || a.Wait.Until == nil || a.Wait.Until.Sub(a.UpdatedAt) < time.Second {
		t.Errorf("it waits for %+v", a.Wait)
	}
	if a = wait(t, k, a.PID); a.State != api.StateTerminated || !strings.Contains(a.Error.Reason, "idle_seconds") {
		t.Errorf("%s: %+v", a.State, a.Error)
	}
}

func mailIsDelivered(t *testing.T, k *kernel.Kernel, e *kernel.Engine) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "listen", Mode: api.ModeConversation})
	kernel.AwaitState(t, k.Client, a.PID, api.StateWaiting)
	if _, err := k.Client.Send(t.Context(), a.PID, "and this"); err != nil {
		t.Fatal(err)
	}
	kernel.AwaitEvent(t, k.Client, a.PID, "agent.message_delivered")
	kernel.AwaitState(t, k.Client, a.PID, api.StateWaiting)
	said := transcript(t, k, a.PID, 4)
	if want := []string{"user: listen", "assistant: done", "user: and this", "assistant: done"}; !slices.Equal(said, want) || e.Requests("listen") != 2 {
		t.Errorf("%d requests, %q", e.Requests("listen"), said)
	}
}

// transcript is what was said in a process, once it has so many messages: the context service hears of a
// reply in its own time.
func transcript(t *testing.T, k *kernel.Kernel, pid string, messages int) []string {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got, err := k.Client.Context(t.Context(), pid)
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, p := range got.Pages {
			said = append(said, p.Message.Role+": "+p.Message.String())
		}
		if len(said) >= messages || time.Now().After(deadline) {
			return said
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestANewModelIsKnownAfterARestart: a kernel that is started again with another engine takes tasks for it
// from its first moment on.
func TestANewModelIsKnownAfterARestart(t *testing.T) {
	t.Parallel()
	k := kernel.Up(t, nil)
	spawn(t, k, api.AgentSpec{Task: "x", Model: "replay/report"})
	if err := k.Process.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	k.Env = kernel.NewEngine(t, script).Env()
	k.Start(t)
	if a := wait(t, k, spawn(t, k, api.AgentSpec{Task: "say hello"}).PID); a.State != api.StateCompleted {
		t.Errorf("%s: %+v", a.State, a.Error)
	}
}

// TestCostLimits: a cost limit that cannot be kept is refused before anything is sent.
func TestCostLimits(t *testing.T) {
	t.Parallel()
	// No request leaves the machine: both calls are refused before.
	k := kernel.Up(t, []string{"OPENAI_API_KEY=test", "OPENAI_BASE_URL=", "OLLAMA_HOST=127.0.0.1:1"})
	for _, tc := range []struct {
		name, model, code, reason string
		limit                     float64
	}{
		{"the price is unknown", "openai/unheard-of", "denied", "price of openai/unheard-of is unknown", 1},
		{"the budget does not pay the prompt", "openai/gpt-4o", "quota", "cost budget is used up", 0.000001},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := wait(t, k, spawn(t, k, api.AgentSpec{Task: "say hello", Model: tc.model, Limits: api.Limits{MaxCostUSD: tc.limit}}).PID)
			if a.State != api.StateFailed || a.Error.Code != tc.code || !strings.Contains(a.Error.Reason, tc.reason) {
				t.Errorf("%s: %+v", a.State, a.Error)
			}
			kernel.AwaitEvent(t, k.Client, a.PID, "llm.call_refused")
		})
	}
}
