package learning_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
	"github.com/agentos-kernel/agentos/services/learning"
)

const closedSQL = `SELECT count(*) FROM eventstore.events WHERE kind = 'learning.trajectory_closed'`

func stats(name string, n, completed, failed, terminated int64) learning.Stats {
	return learning.Stats{
		Name: name, Runs: n, Completed: completed, Failed: failed, Terminated: terminated, Steps: 2 * n, ModelCalls: 2 * n,
		ToolCalls: n, InputTokens: 200 * n, CachedTokens: 20 * n, OutputTokens: 14 * n, CostMicroUSD: 3000 * n,
	}
}

// Live events and a replay give the same; each trajectory is closed once, also after the tables were
// dropped and built again, which gives the same bytes.
func TestService(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	svc, stop := w.start(t)
	for i := range 10 {
		w.run(t, fmt.Sprintf("pa%d", i), "alpha", agent.Completed{Result: "42", Reason: "answered"})
		w.run(t, fmt.Sprintf("pb%d", i), "beta\x00", agent.Failed{Reason: "x", Code: "quota"})
	}
	w.run(t, "pb10", "beta\x00", agent.Terminated{Reason: "killed", Signal: "kill"})
	w.run(t, "pb11", "beta\x00", agent.Completed{Result: "42"})
	until(t, "22 closed trajectories", func() bool { return w.count(t, closedSQL) == 22 })
	checkHTTP(t, svc)

	want := []learning.Stats{stats("alpha", 10, 10, 0, 0), stats("beta\x00", 12, 1, 10, 1)}
	got, err := learning.Replay(t.Context(), w.pool, w.reg, learning.ReplayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.Agents); diff != "" {
		t.Error(diff)
	}
	stop()

	live := w.dump(t)
	if _, err := w.admin.Exec(t.Context(), `TRUNCATE learning.trajectories, learning.steps, learning.positions`); err != nil {
		t.Fatal(err)
	}
	_, stop = w.start(t)
	defer stop()
	until(t, "the same bytes", func() bool { return w.dump(t) == live })
	if n := w.count(t, closedSQL); n != 22 {
		t.Errorf("%d closed events after a rebuild, want 22", n)
	}
}

func checkHTTP(t *testing.T, svc *learning.Service) {
	t.Helper()
	srv, err := httpserver.New(httpserver.Config{
		Logger: slog.New(slog.DiscardHandler), Ready: func(context.Context) error { return nil },
		APIKeys: func(key string) (string, bool) {
			return map[string]string{"a": events.DefaultTenant, "b": "other"}[key], true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	svc.Definition().Routes(srv.Group())
	get := func(key, path string, into any) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		srv.Handler().ServeHTTP(w, r)
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Errorf("%s: %v in %s", path, err, w.Body)
		}
		return w.Code
	}
	var page api.AgentStatsPage
	rate := 1.0
	alpha := api.AgentStats{
		Name: "alpha", Runs: 10, Completed: 10, Steps: 20, ToolCalls: 10, InputTokens: 2000, OutputTokens: 140,
		CostUSD: 0.03, SuccessRate: &rate,
	}
	if code := get("a", "/v1/trajectories?limit=1", &page); code != 200 || page.NextCursor != "alpha" {
		t.Errorf("first page: %d %+v", code, page)
	}
	if diff := cmp.Diff([]api.AgentStats{alpha}, page.Agents); diff != "" {
		t.Error(diff)
	}
	page = api.AgentStatsPage{}
	if code := get("a", "/v1/trajectories?limit=1&cursor=alpha", &page); code != 200 || page.NextCursor != "" ||
		len(page.Agents) != 1 || page.Agents[0].Name != "beta" {
		t.Errorf("second page: %d %+v", code, page)
	}
	page = api.AgentStatsPage{}
	if code := get("b", "/v1/trajectories", &page); code != 200 || len(page.Agents) != 0 {
		t.Errorf("another tenant sees %d %+v", code, page)
	}
	var problem httpserver.Problem
	for path, want := range map[string]int{"/v1/trajectories?limit=1001": 400, "/v1/trajectories?limit=0": 400, "/v1/trajectories/nobody": 404} {
		if code := get("a", path, &problem); code != want || problem.Status != want {
			t.Errorf("%s: %d %+v", path, code, problem)
		}
	}
	if code := get("b", "/v1/trajectories/pa1", &problem); code != 404 {
		t.Errorf("another tenant sees a trajectory: %d", code)
	}
	var doc struct {
		api.Trajectory
		Result string `json:"result"`
	}
	if code := get("a", "/v1/trajectories/pa1", &doc); code != 200 || doc.Outcome != "completed" || len(doc.Steps) != 2 ||
		doc.Result != "42" || doc.EndedAt == nil || doc.Usage.InputTokens != 200 || doc.Steps[0].ToolCalls[0].Name != "calculator" ||
		doc.Steps[0].ModelCall.InputTokens != 100 || doc.Steps[1].ModelCall.Outcome != "finished" {
		t.Errorf("trajectory: %d %+v", code, doc)
	}
}

// A part of the store counts only the processes that begin in it.
func TestReplayRange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 3 {
		w.run(t, fmt.Sprintf("p%d", i), "alpha", agent.Completed{Result: "42"})
	}
	last := int64(w.count(t, `SELECT max(pos) FROM eventstore.events`))
	each := last / 3
	for _, c := range []struct {
		from, to, events, partial int64
		agents                    []learning.Stats
	}{
		{0, 0, last, 0, []learning.Stats{stats("alpha", 3, 3, 0, 0)}},
		{1, each, each, 0, []learning.Stats{stats("alpha", 1, 1, 0, 0)}},
		{each + 1, 0, last - each, 0, []learning.Stats{stats("alpha", 2, 2, 0, 0)}},
		{2, each * 2, each*2 - 1, 1, []learning.Stats{stats("alpha", 1, 1, 0, 0)}},
		{last + 1, 0, 0, 0, []learning.Stats{}},
	} {
		got, err := learning.Replay(t.Context(), w.pool, w.reg, learning.ReplayOptions{From: c.from, To: c.to})
		if err != nil {
			t.Fatal(err)
		}
		if got.Events != c.events || got.Partial != c.partial {
			t.Errorf("%d to %d: %d events, %d partial; want %d, %d", c.from, c.to, got.Events, got.Partial, c.events, c.partial)
		}
		if diff := cmp.Diff(c.agents, got.Agents); diff != "" {
			t.Errorf("%d to %d: %s", c.from, c.to, diff)
		}
	}
	for _, bad := range []learning.ReplayOptions{{From: -1}, {From: 5, To: 4}} {
		if _, err := learning.Replay(t.Context(), w.pool, w.reg, bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: got %v, want invalid", bad, err)
		}
	}
	if got, err := learning.Replay(t.Context(), w.pool, w.reg, learning.ReplayOptions{Tenant: "other"}); err != nil || got.Events != 0 {
		t.Errorf("another tenant: %+v, %v", got, err)
	}
}

// A killed process has a model call in flight that ends after its end: the trajectory waits for it.
func TestKilledInMidCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const pid = "pk"
	call := llm.Call{ID: pid + "/1/0", Step: 1, Attempt: 1}
	w.write(t, events.Agent, pid, agent.Spawned{Name: "alpha", Model: "replay/x"}, agent.StepGranted{Step: 1},
		agent.Terminated{Reason: "killed", Signal: "kill"})
	w.write(t, events.LLM, pid, llm.CallStarted{Call: call, Model: "replay/x"},
		llm.CallCancelled{Call: call, Reason: "killed", Usage: llm.Usage{InputTokens: 5, CostMicroUSD: 9}})
	_, stop := w.start(t)
	defer stop()
	until(t, "one closed trajectory", func() bool { return w.count(t, closedSQL) == 1 })
	var data []byte
	if err := w.admin.QueryRow(t.Context(), `SELECT data FROM eventstore.events WHERE kind = 'learning.trajectory_closed'`).Scan(&data); err != nil {
		t.Fatal(err)
	}
	want := `{"name":"alpha","outcome":"terminated","steps":0,"tool_calls":0,"input_tokens":5,"output_tokens":0,"cost_micro_usd":9}`
	if string(data) != want {
		t.Errorf("got %s\nwant %s", data, want)
	}
}
