package deployment

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/examples/drive"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// spawn begins a process, however often it takes.
func (w *world) spawn(ctx context.Context, t *testing.T, spec api.AgentSpec) api.Agent {
	t.Helper()
	var a api.Agent
	key := uuid.NewString()
	err := drive.Insist(ctx, func() (err error) {
		a, err = w.c.Spawn(client.WithKey(ctx, key), spec)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.tasks++
	return a
}

// wait waits for the end of a process.
func (w *world) wait(ctx context.Context, t *testing.T, pid string) api.Agent {
	t.Helper()
	var a api.Agent
	for {
		err := drive.Insist(ctx, func() (err error) {
			a, err = w.c.Agent(ctx, pid)
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", pid, err)
		}
		if client.Ended(a.State) {
			return a
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s is still %s", pid, a.State)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// probe runs one task and says how long it took.
func (w *world) probe(t *testing.T) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), faultLimit)
	defer cancel()
	spec, reply := opening(t)
	start := time.Now()
	a := w.wait(ctx, t, w.spawn(ctx, t, spec).PID)
	if a.State != api.StateCompleted || a.Result != reply {
		t.Errorf("%s: %s %q (%+v)", a.PID, a.State, a.Result, a.Error)
	}
	return time.Since(start)
}

// submit: a task gets its recorded answer, and its facts are whole.
func submit(t *testing.T, w *world) {
	t.Helper()
	spec, reply := opening(t)
	a := w.wait(t.Context(), t, w.spawn(t.Context(), t, spec).PID)
	if a.State != api.StateCompleted || a.Result != reply || a.Usage.Steps != 1 {
		t.Errorf("%s %q (%+v) %+v", a.State, a.Result, a.Error, a.Usage)
	}
	kernel.Once(t, w.c, a.PID)
}

// message: recorded conversations with tool calls and the messages of their users.
func message(t *testing.T, w *world) {
	t.Helper()
	l, check := w.load(t)
	progress(t, l, 1)
	check()
}

// stream: behind every event of a stream a client gets exactly the rest.
func stream(t *testing.T, w *world) {
	t.Helper()
	spec, reply := opening(t)
	a := w.spawn(t.Context(), t, spec)
	url, key := w.address()
	whole := kernel.OpenStream(t, url, key, a.PID, "deltas=true&after=0", "").All()
	w.wait(t.Context(), t, a.PID)
	var text strings.Builder
	for _, f := range whole {
		if f.Name != "delta" {
			continue
		}
		var d api.Delta
		if err := json.Unmarshal([]byte(f.Data), &d); err != nil {
			t.Fatal(err)
		}
		text.WriteString(d.Text)
	}
	// A delta may be over before the stream is open: then there is none at all.
	if got := text.String(); got != "" && got != reply {
		t.Errorf("the deltas add up to %q, the answer is %q", got, reply)
	}
	told := kernel.Facts(whole)
	if n := len(kernel.Events(t, w.c, a.PID)); n != len(told) {
		t.Fatalf("the stream told %d of %d facts", len(told), n)
	}
	for i, f := range told[:len(told)-1] {
		rest := kernel.Facts(kernel.OpenStream(t, url, key, a.PID, "", f.ID).All())
		if d := cmp.Diff(told[i+1:], rest); d != "" {
			t.Errorf("resumed at %s: %s", f.ID, d)
		}
	}
}

// signal: a conversation that waits ends at once when it is terminated or killed.
func signal(t *testing.T, w *world) {
	t.Helper()
	for _, name := range []api.SignalName{api.SignalTerminate, api.SignalKill} {
		spec, _ := opening(t)
		spec.Mode = api.ModeConversation
		a := w.spawn(t.Context(), t, spec)
		kernel.AwaitState(t, w.c, a.PID, api.StateWaiting)
		if _, err := w.c.Signal(t.Context(), a.PID, api.SignalSpec{Signal: name}); err != nil {
			t.Fatal(err)
		}
		if a = w.wait(t.Context(), t, a.PID); a.State != api.StateTerminated {
			t.Errorf("%s: %s %+v", name, a.State, a.Error)
		}
		kernel.Once(t, w.c, a.PID)
	}
}
