package tools_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
	"github.com/agentos-kernel/agentos/services/tools"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const partitions = 4

// world is the tools service on a real database and broker, beside two services that write what the
// scheduler and the gateway would.
type world struct {
	t        *testing.T
	admin    string
	broker   string
	log      *slog.Logger
	registry *events.Registry
	agents   *service.Runtime
	models   *service.Runtime
}

func newWorld(t *testing.T) *world {
	t.Helper()
	registry, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, admin: testkit.Postgres(t), broker: testkit.Broker(t), registry: registry,
		log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	harness, err := service.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	own, err := tools.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	err = eventstore.Setup(t.Context(), w.admin, partitions, []eventstore.Service{
		{Name: "scheduler", Family: events.Agent, Password: "x", Migrations: []fs.FS{harness}},
		{Name: "llm", Family: events.LLM, Password: "x", Migrations: []fs.FS{harness}},
		{Name: tools.Name, Family: events.Tool, Password: "x", Migrations: []fs.FS{harness, own}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var topics []bus.TopicSpec
	for _, f := range events.Families() {
		topics = append(topics, bus.TopicSpec{Name: f.Topic(), Partitions: partitions, Retention: time.Hour})
	}
	if err := bus.EnsureTopics(t.Context(), w.bus(), topics); err != nil {
		t.Fatal(err)
	}
	w.agents, _ = w.run(writer("scheduler", events.Agent))
	w.models, _ = w.run(writer("llm", events.LLM))
	return w
}

func (w *world) bus() bus.Config {
	return bus.Config{Brokers: []string{w.broker}, SessionTimeout: 2 * time.Second, Logger: w.log}
}

// writer appends whatever event it is given.
func writer(name string, family events.Family) service.Definition {
	streams := service.NewStreams(family, func(n int, _ events.Event) int { return n + 1 })
	return service.Definition{
		Name: name, Family: family, Consumes: []events.Family{events.Audit},
		Handle: func(ctx context.Context, u *service.Unit, in *service.Input) error {
			e, ok := in.Command.(events.Event)
			if !ok {
				return nil
			}
			st, err := streams.Load(ctx, u, in.Tenant, in.Subject)
			if err != nil {
				return err
			}
			st.Append(e)
			return nil
		},
	}
}

func (w *world) runtime(def service.Definition) *service.Runtime {
	w.t.Helper()
	url, err := eventstore.ServiceURL(w.admin, def.Name, "x")
	if err != nil {
		w.t.Fatal(err)
	}
	pool, err := pgxpool.New(w.t.Context(), url)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(pool.Close)
	rt, err := service.New(def, service.Deps{
		DB: pool, Bus: w.bus(), Partitions: partitions, Registry: w.registry, Logger: w.log, Now: time.Now,
		NewID: func() string { return uuid.Must(uuid.NewV7()).String() }, GraceTime: 2 * time.Second,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return rt
}

// run runs a service until stop is called, or the test ends.
func (w *world) run(def service.Definition) (*service.Runtime, func()) {
	rt := w.runtime(def)
	return rt, w.start(rt)
}

func (w *world) start(rt *service.Runtime) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- rt.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	}
	w.t.Cleanup(stop)
	return stop
}

func (w *world) tools(cfg tools.Config) (*tools.Service, func()) {
	w.t.Helper()
	svc, err := tools.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	rt := w.runtime(svc.Definition())
	svc.Bind(rt)
	return svc, w.start(rt)
}

func (w *world) write(rt *service.Runtime, pid string, e events.Event) {
	w.t.Helper()
	if _, err := rt.Do(w.t.Context(), events.DefaultTenant, pid, e); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reply(pid string, step int, window string, m chat.Message) {
	w.t.Helper()
	w.write(w.models, pid, llm.CallFinished{Call: llm.Call{ID: fmt.Sprintf("%s/%d/0", pid, step), Step: step, Attempt: 1}, WindowHash: window, Message: m})
}

// ends waits until n calls of a process have ended and gives its whole tool stream.
func (w *world) ends(pid string, n int) []events.Event {
	w.t.Helper()
	var out []events.Event
	w.until(fmt.Sprintf("%d calls of %s to end", n, pid), func() bool {
		out = w.stream(events.Tool.Stream(pid))
		ended := 0
		for _, e := range out {
			switch e.(type) {
			case tool.CallFinished, tool.CallFailed, tool.CallCancelled:
				ended++
			}
		}
		return ended >= n
	})
	return out
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("gave up waiting for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *world) stream(name string) []events.Event {
	w.t.Helper()
	records, err := w.agents.ReadStream(w.t.Context(), events.DefaultTenant, name, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	out := make([]events.Event, len(records))
	for i, r := range records {
		if out[i], err = w.registry.Decode(r); err != nil {
			w.t.Fatal(err)
		}
	}
	return out
}

func call(name, arguments string) chat.ToolCall {
	return chat.ToolCall{ID: "call_" + name, Type: "function", Function: chat.FunctionCall{Name: name, Arguments: arguments}}
}

func asks(calls ...chat.ToolCall) chat.Message {
	return chat.Message{Role: chat.Assistant, ToolCalls: calls}
}

// results are the texts of the calls that ended, by index; "!" marks failures and cancels.
func results(stream []events.Event, step int) map[int]string {
	out := map[int]string{}
	for _, e := range stream {
		switch e := e.(type) {
		case tool.CallFinished:
			if e.Call.Step == step {
				out[e.Call.Index] = e.Result
			}
		case tool.CallFailed:
			if e.Call.Step == step {
				out[e.Call.Index] = "!" + e.Code + ": " + e.Reason
			}
		case tool.CallCancelled:
			if e.Call.Step == step {
				out[e.Call.Index] = "!cancelled: " + e.Reason
			}
		}
	}
	return out
}

func TestBuiltins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	svc, _ := w.tools(tools.Config{CassetteFolders: []string{"../../examples/airline"}, Tracer: provider.Tracer("test")})
	dir := t.TempDir()
	w.write(w.agents, "p1", agent.Spawned{
		Name: "n", Mode: agent.ModeTask, Workspace: dir, Tools: []string{"calculator", "write_file", "read_file", "list_dir"},
	})
	w.reply("p1", 1, "w1", asks(
		call("write_file", `{"path":"out/a.txt","content":"6*7"}`), call("read_file", `{"path":"out/a.txt"}`),
		call("calculator", `{"expression":"6*7"}`), call("search_text", `{"pattern":"x"}`), call("read_file", `{"paht":"x"}`),
		call("list_dir", `{"path":"../"}`),
	))
	stream := w.ends("p1", 6)
	want := map[int]string{
		0: "wrote 3 bytes to out/a.txt", 1: "6*7", 2: "42",
		3: `!denied: there is no tool "search_text" for this process. Use one of: calculator, list_dir, read_file, write_file.`,
		4: `!invalid: wrong arguments: missing property 'path'; additional properties 'paht' not allowed. Call again with these mended.`,
		5: `!denied: "../" is outside the workspace. Use a path relative to the workspace, without leaving it.`,
	}
	if diff := cmp.Diff(want, results(stream, 1)); diff != "" {
		t.Error(diff)
	}
	var layers []string
	for _, e := range stream {
		if s, ok := e.(tool.CallStarted); ok && s.Call.Index == 1 {
			layers = s.Layers
		}
	}
	if diff := cmp.Diff([]string{"os.Root workspace", "json-schema", "time limit 30s", "output limit 64KiB"}, layers); diff != "" {
		t.Error(diff)
	}
	checkSpans(t, spans)
	w.checkRegistry(svc)
	w.leasesGone()
}

// checkSpans wants one span per call, which does not tell its arguments.
func checkSpans(t *testing.T, spans *tracetest.SpanRecorder) {
	t.Helper()
	names := map[string]int{}
	for _, s := range spans.Ended() {
		names[s.Name()]++
		for _, a := range s.Attributes() {
			if strings.Contains(a.Value.AsString(), "6*7") {
				t.Errorf("span %s tells %s", s.Name(), a.Key)
			}
		}
	}
	want := map[string]int{"execute_tool write_file": 1, "execute_tool read_file": 1, "execute_tool calculator": 1, "execute_tool list_dir": 1}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func (w *world) checkRegistry(svc *tools.Service) {
	w.t.Helper()
	w.until("the registry", func() bool { return len(w.stream("tool/registry")) > 0 })
	published, ok := w.stream("tool/registry")[0].(tool.RegistryPublished)
	if !ok || len(published.Sets) != 2 || published.Sets[0].Name != "builtin" || len(published.Sets[0].Tools) != 5 ||
		published.Sets[1].Name != "replay/airline" || len(published.Sets[1].Tools) != 14 {
		w.t.Errorf("published %+v", published)
	}
	e := echo.New()
	svc.Definition().Routes(e.Group(""))
	rec := httptest.NewRecorder()
	e.ServeHTTP(rec, httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, "/v1/tools?set=builtin", http.NoBody))
	var list api.ToolList
	if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil || rec.Code != http.StatusOK {
		w.t.Fatalf("GET /v1/tools: %d %v", rec.Code, err)
	}
	if len(list.Sets) != 1 || len(list.Sets[0].Tools) != 5 || list.Sets[0].Tools[0].Name != "calculator" {
		w.t.Errorf("GET /v1/tools?set=builtin: %+v", list)
	}
}

// leasesGone wants no lease left: every call told how it ended.
func (w *world) leasesGone() {
	w.t.Helper()
	pool, err := pgxpool.New(w.t.Context(), w.admin)
	if err != nil {
		w.t.Fatal(err)
	}
	defer pool.Close()
	var n int
	if err := pool.QueryRow(w.t.Context(), "SELECT count(*) FROM tools.effects").Scan(&n); err != nil || n != 0 {
		w.t.Errorf("%d leases left, %v", n, err)
	}
}

// A conversation of the recording is played tool call by tool call, by a service that is started anew
// in the middle: every result is the recorded one.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := tools.Config{CassetteFolders: []string{"../../examples/airline"}}
	_, stop := w.tools(cfg)
	index, err := cassette.NewLibrary(cfg.CassetteFolders...).Get("airline")
	if err != nil {
		t.Fatal(err)
	}
	w.write(w.agents, "p2", agent.Spawned{Name: "n", Mode: agent.ModeConversation, Tools: []string{"replay/airline"}})
	messages := index.Cassette().Conversations[3].Messages
	chain, step, calls := "", 0, 0
	for i, m := range messages {
		if m.Role == chat.Assistant {
			step++
			if len(m.ToolCalls) > 0 {
				w.reply("p2", step, chain, m)
				calls++
				got := results(w.ends("p2", calls), step)
				if want := messages[i+1].String(); got[0] != want {
					t.Fatalf("step %d: got %q, recorded %q", step, got[0], want)
				}
				if calls == 2 {
					stop()
					w.tools(cfg)
				}
			}
		}
		chain = chat.Extend(chain, m.Hash())
	}
	if calls < 3 {
		t.Fatalf("only %d tool calls", calls)
	}
	w.reply("p2", step+1, "elsewhere", asks(call("list_all_airports", "{}")))
	if got := results(w.ends("p2", calls+1), step+1)[0]; !strings.HasPrefix(got, "!not_found: cassette airline has no result of list_all_airports") {
		t.Errorf("unknown chain: %q", got)
	}
}

// Every tool call of all recorded conversations fits the tools' schemas and is found.
func TestRecordingFitsSchemas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := tools.Config{CassetteFolders: []string{"../../examples/airline"}}
	w.tools(cfg)
	index, err := cassette.NewLibrary(cfg.CassetteFolders...).Get("airline")
	if err != nil {
		t.Fatal(err)
	}
	conversations := index.Cassette().Conversations
	want := make([]map[int]string, len(conversations))
	for i, c := range conversations {
		pid := fmt.Sprintf("pall%d", i)
		w.write(w.agents, pid, agent.Spawned{Name: "n", Mode: agent.ModeConversation, Tools: []string{"replay/airline"}})
		want[i] = map[int]string{}
		chain := ""
		for j, m := range c.Messages {
			if len(m.ToolCalls) > 0 && j+1 < len(c.Messages) {
				w.reply(pid, j, chain, m)
				want[i][j] = c.Messages[j+1].String()
			}
			chain = chat.Extend(chain, m.Hash())
		}
	}
	calls := 0
	for i := range conversations {
		stream := w.ends(fmt.Sprintf("pall%d", i), len(want[i]))
		for step, text := range want[i] {
			calls++
			if got := results(stream, step)[0]; got != text {
				t.Errorf("conversation %d, message %d: %q, recorded %q", i, step, got, text)
			}
		}
	}
	t.Logf("%d calls of %d conversations", calls, len(conversations))
	w.leasesGone()
}

// A kill ends what runs and what waits, and nothing starts after it.
func TestKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tools(tools.Config{})
	dir := t.TempDir()
	// Enough text without a match, one file under many names, that the search runs until it is stopped.
	first := filepath.Join(dir, "0")
	if err := os.WriteFile(first, []byte(strings.Repeat(strings.Repeat("a", 60)+"\n", 200_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		if err := os.Link(first, filepath.Join(dir, strconv.Itoa(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	w.write(w.agents, "p3", agent.Spawned{Name: "n", Mode: agent.ModeTask, Workspace: dir, Tools: []string{"builtin"}})
	w.reply("p3", 1, "", asks(call("search_text", `{"pattern":"(a*)*(b|c)x"}`), call("write_file", `{"path":"never","content":""}`)))
	w.until("the search to start", func() bool { return len(w.stream("tool/p3")) >= 3 })
	w.write(w.agents, "p3", agent.SignalReceived{Signal: "kill"})
	w.write(w.agents, "p3", agent.Terminated{Signal: "kill", Reason: "killed"})
	want := map[int]string{0: "!cancelled: the process is over: killed", 1: "!cancelled: the process is over: killed"}
	if diff := cmp.Diff(want, results(w.ends("p3", 2), 1)); diff != "" {
		t.Error(diff)
	}
	w.reply("p3", 2, "", asks(call("write_file", `{"path":"never","content":""}`)))
	if got := results(w.ends("p3", 3), 2)[0]; got != "!denied: the process is over: killed" {
		t.Errorf("after the kill: %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "never")); !os.IsNotExist(err) {
		t.Errorf("a file was written after the kill: %v", err)
	}
	w.leasesGone()
}

// A replica died while calls ran: another one finds their leases, makes a pure call again, in its place in
// the recording, and ends one whose tool is gone.
func TestTakeover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	index, err := cassette.NewLibrary("../../examples/airline").Get("airline")
	if err != nil {
		t.Fatal(err)
	}
	messages := index.Cassette().Conversations[0].Messages
	at := slices.IndexFunc(messages, func(m chat.Message) bool { return len(m.ToolCalls) > 0 })
	w.write(w.agents, "p4", agent.Spawned{Name: "n", Mode: agent.ModeConversation, Tools: []string{"replay/airline", "calculator"}})
	w.reply("p4", 1, chat.Chain(messages[:at]), messages[at])
	lost := tool.Call{ID: "p4/1/0", Step: 1, Attempt: 1, Request: messages[at].ToolCalls[0]}
	gone := tool.Call{ID: "p4/1/1", Step: 1, Index: 1, Attempt: 1, Request: call("uninstalled", "{}")}
	dead, stop := w.run(writer(tools.Name, events.Tool))
	for _, c := range []tool.Call{lost, gone} {
		w.write(dead, "p4", tool.CallDecided{Call: c, Decision: tool.Allow, Class: tool.Pure})
		w.write(dead, "p4", tool.CallStarted{Call: c, Class: tool.Pure})
		_, err := dead.DB().Exec(t.Context(), `INSERT INTO effects (tenant, subject, call_id, attempt, class, shard, owner, lease_until)
			VALUES ($1, 'p4', $2, 1, 'pure', $3, 'dead', clock_timestamp())`, events.DefaultTenant, c.ID, dead.Shard("p4"))
		if err != nil {
			t.Fatal(err)
		}
	}
	stop()
	w.tools(tools.Config{CassetteFolders: []string{"../../examples/airline"}})
	stream := w.ends("p4", 2)
	want := map[int]string{0: messages[at+1].String(), 1: `!unavailable: the tool "uninstalled" is gone. Go on without it.`}
	if diff := cmp.Diff(want, results(stream, 1)); diff != "" {
		t.Error(diff)
	}
	attempts := 0
	for _, e := range stream {
		if s, ok := e.(tool.CallStarted); ok && s.Call.ID == lost.ID {
			attempts++
		}
	}
	if attempts != 2 {
		t.Errorf("%d attempts, want 2", attempts)
	}
	w.leasesGone()
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := tools.New(tools.Config{CallTimeout: -1, OutputLimit: 5, Concurrency: -1, Grace: -1})
	if !fault.Is(err, fault.Invalid) {
		t.Fatalf("err = %v, want Invalid", err)
	}
	for _, field := range []string{"CallTimeout", "OutputLimit", "Concurrency", "Grace"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
	if cfg := (tools.Config{}).WithDefaults(); cfg.CallTimeout != 30*time.Second || cfg.OutputLimit != 64<<10 {
		t.Errorf("defaults %+v", cfg)
	}
}
