package learning_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
	"github.com/agentos-kernel/agentos/services/learning"
)

const partitions = 4

func TestMain(m *testing.M) { testkit.Main(m) }

// world is a database with an event store and writers of all families.
type world struct {
	admin   *pgxpool.Pool
	pool    *pgxpool.Pool // the learning service's role
	writers map[events.Family]*pgxpool.Pool
	broker  string
	reg     *events.Registry
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	url := testkit.Postgres(tb)
	svc, err := learning.New(learning.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	harness, err := service.Migrations()
	if err != nil {
		tb.Fatal(err)
	}
	names := map[events.Family]string{events.Agent: "scheduler", events.LLM: "llm", events.Tool: "tools", events.Learning: "learning"}
	var services []eventstore.Service
	for f, name := range names {
		s := eventstore.Service{Name: name, Family: f, Password: "x"}
		if f == events.Learning {
			s.Migrations = []fs.FS{harness, svc.Definition().Migrations}
		}
		services = append(services, s)
	}
	for try := 1; ; try++ { // roles belong to the cluster: set-ups of databases side by side can meet there
		err := eventstore.Setup(tb.Context(), url, partitions, services)
		if err == nil {
			break
		}
		if try == 20 {
			tb.Fatal(err)
		}
	}
	open := func(url string) *pgxpool.Pool {
		pool, err := pgxpool.New(tb.Context(), url)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(pool.Close)
		return pool
	}
	w := &world{admin: open(url), writers: map[events.Family]*pgxpool.Pool{}, broker: testkit.Broker(tb)}
	for f, name := range names {
		to, err := eventstore.ServiceURL(url, name, "x")
		if err != nil {
			tb.Fatal(err)
		}
		w.writers[f] = open(to)
	}
	w.pool = w.writers[events.Learning]
	if w.reg, err = catalog.New(); err != nil {
		tb.Fatal(err)
	}
	return w
}

// start runs the service until the returned function is called.
func (w *world) start(t *testing.T) (*learning.Service, func()) {
	t.Helper()
	svc, err := learning.New(learning.Config{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg := bus.Config{Brokers: []string{w.broker}, SessionTimeout: 2 * time.Second, Logger: log}
	var topics []bus.TopicSpec
	for _, f := range events.Families() {
		topics = append(topics, bus.TopicSpec{Name: f.Topic(), Partitions: partitions, Retention: time.Hour})
	}
	if err := bus.EnsureTopics(t.Context(), cfg, topics); err != nil {
		t.Fatal(err)
	}
	rt, err := service.New(svc.Definition(), service.Deps{
		DB: w.pool, Bus: cfg, Partitions: partitions, Registry: w.reg, Logger: log, Now: time.Now,
		NewID: func() string { return uuid.Must(uuid.NewV7()).String() }, GraceTime: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	svc.Bind(rt)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- rt.Run(ctx) }()
	return svc, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

// write appends events of one family to the process's stream.
func (w *world) write(tb testing.TB, f events.Family, pid string, evs ...events.Event) {
	tb.Helper()
	a := eventstore.Append{Tenant: events.DefaultTenant, Stream: f.Stream(pid), Expected: eventstore.AnyVersion}
	for _, e := range evs {
		data, err := events.Encode(e)
		if err != nil {
			tb.Fatal(err)
		}
		a.Records = append(a.Records, events.Record{
			ID: uuid.Must(uuid.NewV7()).String(), Kind: e.Kind(), SchemaVersion: e.SchemaVersion(),
			Time: time.Now().UTC().Truncate(time.Microsecond), Data: data,
		})
	}
	var b eventstore.Batch
	b.Add(a)
	var p pgx.Batch
	b.Queue(&p)
	if err := w.writers[f].SendBatch(tb.Context(), &p).Close(); err != nil {
		tb.Fatal(err)
	}
}

// run writes a whole process of two steps with one tool call; end is its last event.
func (w *world) run(tb testing.TB, pid, name string, end agent.Event) {
	tb.Helper()
	one := llm.Call{ID: pid + "/1/0", Step: 1, Attempt: 1}
	two := llm.Call{ID: pid + "/2/0", Step: 2, Attempt: 1}
	request := chat.ToolCall{ID: "c", Type: "function", Function: chat.FunctionCall{Name: "calculator", Arguments: "{}"}}
	call := tool.Call{ID: pid + "/1/0", Step: 1, Attempt: 1, Request: request}
	usage := llm.Usage{InputTokens: 100, CachedTokens: 10, OutputTokens: 7, CostMicroUSD: 1500, Counted: true}
	reply := chat.Message{Role: chat.Assistant, ToolCalls: []chat.ToolCall{request}}

	w.write(tb, events.Agent, pid, agent.Spawned{Name: name, Task: "sum\x00", Model: "replay/x"}, agent.StepGranted{Step: 1})
	w.write(tb, events.LLM, pid, llm.CallStarted{Call: one, Model: "replay/x"}, llm.CallFinished{Call: one, Model: "replay/x", Message: reply, Usage: usage})
	w.write(tb, events.Tool, pid, tool.CallDecided{Call: call, Decision: tool.Allow, Class: tool.Pure}, tool.CallStarted{Call: call, Class: tool.Pure},
		tool.CallFinished{Call: call, Result: "42", DurationUS: 5})
	w.write(tb, events.Agent, pid, agent.StepSettled{Step: 1, After: agent.After{LLM: 2, Tool: 3}}, agent.StepGranted{Step: 2})
	w.write(tb, events.LLM, pid, llm.CallStarted{Call: two, Model: "replay/x"},
		llm.CallFinished{Call: two, Model: "replay/x", Message: chat.Text(chat.Assistant, "42"), Usage: usage})
	w.write(tb, events.Agent, pid, agent.StepSettled{Step: 2, After: agent.After{LLM: 4, Tool: 3}}, end)
}

func until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within 30 s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// dump is the bytes of all trajectories and steps.
func (w *world) dump(tb testing.TB) string {
	tb.Helper()
	var out string
	err := w.admin.QueryRow(tb.Context(), `SELECT coalesce((SELECT string_agg(t::text, e'\n' ORDER BY pid) FROM learning.trajectories t), '')
		|| coalesce((SELECT string_agg(s::text, e'\n' ORDER BY pid, step) FROM learning.steps s), '')`).Scan(&out)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// count is the number a query gives.
func (w *world) count(tb testing.TB, sql string) int {
	tb.Helper()
	var n int
	if err := w.admin.QueryRow(tb.Context(), sql).Scan(&n); err != nil {
		tb.Fatal(fmt.Errorf("%s: %w", sql, err))
	}
	return n
}
