package integration

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// keyed is a POST with an Idempotency-Key.
func keyed(key, path, body string) kernel.Request {
	r := post(path, body)
	r.Header = map[string]string{"Idempotency-Key": key}
	return r
}

const talkSpec = `{"name":"twice","task":"say hello to A & <B>","model":"openai/tiny","mode":"conversation"}`

// TestSameKeyIsDoneOnceAndAnsweredAlike: a POST sent again with its Idempotency-Key gets the same bytes and
// does nothing more, also side by side and after a restart; another body with the key is a conflict.
func TestSameKeyIsDoneOnceAndAnsweredAlike(t *testing.T) {
	t.Parallel()
	e := kernel.NewEngine(t, func(kernel.EngineCall) kernel.EngineAnswer { return kernel.EngineAnswer{Pieces: []string{"Hello"}} })
	k := kernel.Up(t, e.Env())
	first := k.Do(t, keyed("spawn", "/v1/agents", talkSpec))
	if first.Status != 201 {
		t.Fatalf("status %d: %s", first.Status, first.Body)
	}
	var a api.Agent
	if err := json.Unmarshal(first.Body, &a); err != nil {
		t.Fatal(err)
	}
	kernel.AwaitState(t, k.Client, a.PID, api.StateWaiting)
	message, signal := "/v1/agents/"+a.PID+"/messages", "/v1/agents/"+a.PID+"/signals"
	sent := k.Do(t, keyed("message", message, `{"content":"more"}`))
	for _, again := range []struct {
		first kernel.Answer
		req   kernel.Request
	}{{first, keyed("spawn", "/v1/agents", talkSpec)}, {sent, keyed("message", message, `{"content":"more"}`)}} {
		same(t, again.first, k.Do(t, again.req))
	}
	conflict(t, k.Do(t, keyed("spawn", "/v1/agents", `{"task":"other","model":"openai/tiny"}`)))
	conflict(t, k.Do(t, keyed("message", message, `{"content":"other"}`)))
	t.Run("side by side", func(t *testing.T) { sideBySide(t, k) })
	if err := k.Process.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	k.Start(t)
	same(t, first, k.Do(t, keyed("spawn", "/v1/agents", talkSpec)))
	same(t, sent, k.Do(t, keyed("message", message, `{"content":"more"}`)))
	killed := k.Do(t, keyed("signal", signal, `{"signal":"kill"}`))
	same(t, killed, k.Do(t, keyed("signal", signal, `{"signal":"kill"}`)))
	conflict(t, k.Do(t, keyed("signal", signal, `{"signal":"terminate"}`)))
	evs := kernel.AwaitEvent(t, k.Client, a.PID, "agent.terminated")
	counts := map[string]int{}
	for _, ev := range evs {
		counts[ev.Kind]++
	}
	for _, kind := range []string{"agent.spawned", "agent.message_received", "agent.signal_received", "agent.terminated"} {
		if counts[kind] != 1 {
			t.Errorf("%d times %s", counts[kind], kind)
		}
	}
	if n := named(t, k, "twice"); n != 1 {
		t.Errorf("%d processes", n)
	}
}

func sideBySide(t *testing.T, k *kernel.Kernel) {
	t.Helper()
	const callers = 20
	var wg sync.WaitGroup
	spawned, sent := make([]kernel.Answer, callers), make([]kernel.Answer, callers)
	body := `{"name":"crowd","task":"say hello","model":"openai/tiny","mode":"conversation"}`
	together := func(out []kernel.Answer, r kernel.Request) {
		for i := range callers {
			wg.Go(func() {
				a, err := k.Try(t.Context(), r)
				if err != nil {
					t.Error(err)
				}
				out[i] = a
			})
		}
		wg.Wait()
		for _, a := range out[1:] {
			same(t, out[0], a)
		}
	}
	together(spawned, keyed("crowd", "/v1/agents", body))
	var a api.Agent
	if err := json.Unmarshal(spawned[0].Body, &a); err != nil || spawned[0].Status != 201 {
		t.Fatalf("status %d: %s", spawned[0].Status, spawned[0].Body)
	}
	together(sent, keyed("crowd-message", "/v1/agents/"+a.PID+"/messages", `{"content":"more"}`))
	if n := named(t, k, "crowd"); n != 1 {
		t.Errorf("%d processes", n)
	}
	if sent[0].Status != 202 {
		t.Errorf("status %d: %s", sent[0].Status, sent[0].Body)
	}
	// By the time the message is delivered a second one would have been received.
	evs := kernel.AwaitEvent(t, k.Client, a.PID, "agent.message_delivered")
	if n := len(kernel.Of[struct{}](t, evs, "agent.message_received")); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func same(t *testing.T, want, got kernel.Answer) {
	t.Helper()
	if got.Status != want.Status || string(got.Body) != string(want.Body) {
		t.Errorf("the answers differ:\n%d %s\n%d %s", want.Status, want.Body, got.Status, got.Body)
	}
}

func conflict(t *testing.T, a kernel.Answer) {
	t.Helper()
	checkProblem(t, a, refusal{status: 409, detail: "Idempotency-Key"})
}

func named(t *testing.T, k *kernel.Kernel, name string) int {
	t.Helper()
	n := 0
	for _, err := range k.Client.Agents(t.Context(), client.AgentFilter{Name: name}) {
		if err != nil {
			t.Fatal(fmt.Errorf("list processes: %w", err))
		}
		n++
	}
	return n
}
