package effect_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/effect"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

type begin struct{ call string }

// worker is a service that does one effect per command.
type worker struct {
	runner  *effect.Runner
	streams *service.Streams[int]
	mu      sync.Mutex
	ran     map[string][]int // attempts run, by call
	ended   map[string]any   // outcome recorded, by call
}

func newWorker(t *testing.T, run func(ctx context.Context, e effect.Effect) any) (*worker, *service.Runtime) {
	t.Helper()
	w := testkit.NewWorld(t, eventstore.Service{Name: "llm", Family: events.LLM})
	k := &worker{ran: map[string][]int{}, ended: map[string]any{}}
	k.streams = service.NewStreams(events.LLM, func(n int, _ events.Event) int { return n + 1 })
	k.runner = effect.New(effect.Config{Concurrency: 2, Lease: 300 * time.Millisecond}, func(ctx context.Context, e effect.Effect) any {
		k.mu.Lock()
		k.ran[e.CallID] = append(k.ran[e.CallID], e.Attempt)
		k.mu.Unlock()
		return run(ctx, e)
	})
	rt := w.Runtime(t, service.Definition{
		Name: "llm", Family: events.LLM, Consumes: []events.Family{events.Agent}, Handle: k.handle,
		Background: []func(context.Context) error{k.runner.Loop(time.Second)},
	})
	k.runner.Bind(rt, "owner-under-test")
	w.Run(t, rt)
	return k, rt
}

func (k *worker) handle(ctx context.Context, u *service.Unit, in *service.Input) error {
	st, err := k.streams.Load(ctx, u, in.Tenant, in.Subject)
	if err != nil {
		return err
	}
	switch c := in.Command.(type) {
	case begin:
		st.Append(llm.CallStarted{Call: llm.Call{ID: c.call, Attempt: 1}})
		k.runner.Start(u, effect.Effect{Tenant: in.Tenant, Subject: in.Subject, CallID: c.call, Attempt: 1}) //nolint:contextcheck // an effect outlives the batch that starts it
	case effect.Takeover:
		e := c.Effect
		e.Attempt++
		st.Append(llm.CallStarted{Call: llm.Call{ID: e.CallID, Attempt: e.Attempt}})
		k.runner.Start(u, e) //nolint:contextcheck // an effect outlives the batch that starts it
	case effect.Outcome:
		st.Append(llm.CallFinished{Call: llm.Call{ID: c.Effect.CallID, Attempt: c.Effect.Attempt}})
		k.runner.Done(u, c.Effect)
		u.AfterCommit(func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.ended[c.Effect.CallID] = c.Value
		})
	}
	return nil
}

// outcome is what was recorded of the one call of a test.
func (k *worker) outcome() (any, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, ok := k.ended["p/1/0"]
	return v, ok
}

func leases(t *testing.T, rt *service.Runtime) (n int) {
	t.Helper()
	if err := rt.DB().QueryRow(t.Context(), "SELECT count(*) FROM effects").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAnEffectRunsOnceAndLeavesNoLease(t *testing.T) {
	t.Parallel()
	k, rt := newWorker(t, func(context.Context, effect.Effect) any { return "done" })
	if _, err := rt.Do(t.Context(), events.DefaultTenant, "p", begin{"p/1/0"}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the outcome is recorded", func() bool { v, ok := k.outcome(); return ok && v == "done" })
	if n := leases(t, rt); n != 0 {
		t.Fatalf("%d leases are left", n)
	}
	if len(k.ran["p/1/0"]) != 1 {
		t.Fatalf("it ran %v", k.ran["p/1/0"])
	}
}

func TestACancelledEffectStillReports(t *testing.T) {
	t.Parallel()
	cause := errors.New("no longer wanted")
	k, rt := newWorker(t, func(ctx context.Context, _ effect.Effect) any {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if _, err := rt.Do(t.Context(), events.DefaultTenant, "p", begin{"p/1/0"}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it runs", func() bool { return k.runner.Cancel(events.DefaultTenant, "p/1/0", cause) })
	testkit.Eventually(t, "the cause is the outcome", func() bool { v, ok := k.outcome(); err, _ := v.(error); return ok && errors.Is(err, cause) })
}

func TestALongEffectKeepsItsLease(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	k, rt := newWorker(t, func(context.Context, effect.Effect) any { <-release; return nil })
	if _, err := rt.Do(t.Context(), events.DefaultTenant, "p", begin{"p/1/0"}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(900 * time.Millisecond) // three leases long
	close(release)
	testkit.Eventually(t, "the outcome is recorded", func() bool { _, ok := k.outcome(); return ok })
	if attempts := k.ran["p/1/0"]; len(attempts) != 1 {
		t.Fatalf("it was taken over while it ran: attempts %v", attempts)
	}
}

func TestAnEffectOfADeadOwnerIsTakenOver(t *testing.T) {
	t.Parallel()
	k, rt := newWorker(t, func(context.Context, effect.Effect) any { return "done" })
	// What a process that died in mid-call leaves behind: a lease nobody renews.
	_, err := rt.DB().Exec(t.Context(), `INSERT INTO effects (tenant, subject, call_id, attempt, class, shard, owner, lease_until)
		VALUES ('default', 'p', 'p/1/0', 1, 'repeatable', $1, 'dead', clock_timestamp())`, rt.Shard("p"))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the outcome is recorded", func() bool { _, ok := k.outcome(); return ok })
	if attempts := k.ran["p/1/0"]; len(attempts) != 1 || attempts[0] != 2 {
		t.Fatalf("attempts %v, want the second alone", attempts)
	}
	if n := leases(t, rt); n != 0 {
		t.Fatalf("%d leases are left", n)
	}
}

// A commit that ends calls holds the rows of their leases. Renewing the others must not wait for it: it
// would hold rows itself meanwhile, which such a commit may want next, and that is a deadlock.
func TestARenewalWaitsForNoCommit(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	k, rt := newWorker(t, func(context.Context, effect.Effect) any { <-release; return nil })
	finish := sync.OnceFunc(func() { close(release) })
	t.Cleanup(finish)
	for _, call := range []string{"p/1/0", "p/1/1"} {
		if _, err := rt.Do(t.Context(), events.DefaultTenant, "p", begin{call}); err != nil {
			t.Fatal(err)
		}
	}
	commit, err := rt.DB().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = commit.Rollback(context.WithoutCancel(t.Context())) }) // it has been by then, unless the test failed
	if _, err := commit.Exec(t.Context(), "DELETE FROM effects WHERE call_id = 'p/1/1'"); err != nil {
		t.Fatal(err)
	}
	var last time.Time
	renewals := 0 // the first may have been under way
	testkit.Eventually(t, "the other lease is renewed", func() bool {
		var until time.Time
		if err := rt.DB().QueryRow(t.Context(), "SELECT lease_until FROM effects WHERE call_id = 'p/1/0'").Scan(&until); err != nil {
			t.Fatal(err)
		}
		if until.After(last) {
			last = until
			renewals++
		}
		return renewals > 3
	})
	if err := commit.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	finish()
	testkit.Eventually(t, "the outcome is recorded", func() bool { _, ok := k.outcome(); return ok })
	if attempts := k.ran["p/1/0"]; len(attempts) != 1 {
		t.Fatalf("it was taken over while it ran: attempts %v", attempts)
	}
}
