package llmgateway_test

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/events/chat"
	agentctx "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
	llmgateway "github.com/agentos-kernel/agentos/services/llm-gateway"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	partitions = 4
	patience   = 20 * time.Second
)

// world is a database and a broker with writers that stand for the scheduler and the context service.
type world struct {
	admin, broker string
	log           *slog.Logger
	registry      *events.Registry
	agent, space  *service.Runtime
	db            *pgxpool.Pool
}

// facts is the command of a writer: append these.
type facts []events.Event

func newWorld(t *testing.T) *world {
	t.Helper()
	registry, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		admin: testkit.Postgres(t), broker: testkit.Broker(t), registry: registry,
		log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	}
	harness, err := service.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	own, err := llmgateway.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	w.setup(t, []eventstore.Service{
		{Name: "scheduler", Family: events.Agent, Password: "x", Migrations: []fs.FS{harness}},
		{Name: "context", Family: events.Context, Password: "x", Migrations: []fs.FS{harness}},
		{Name: "llm", Family: events.LLM, Password: "x", Migrations: []fs.FS{harness, own}},
	})
	var topics []bus.TopicSpec
	for _, f := range []events.Family{events.Agent, events.Context, events.LLM, events.Audit} {
		topics = append(topics, bus.TopicSpec{Name: f.Topic(), Partitions: partitions, Retention: time.Hour})
	}
	topics = append(topics, bus.TopicSpec{Name: events.DeltasTopic, Partitions: partitions, Retention: time.Hour})
	if err := bus.EnsureTopics(t.Context(), w.bus(), topics); err != nil {
		t.Fatal(err)
	}
	w.db = w.pool(t, "llm")
	w.agent = w.run(t, "scheduler", writer("scheduler", events.Agent), nil)
	w.space = w.run(t, "context", writer("context", events.Context), nil)
	return w
}

// setup makes the schemas; roles belong to the whole cluster, where set-ups side by side can meet.
func (w *world) setup(t *testing.T, services []eventstore.Service) {
	t.Helper()
	var err error
	for range 20 {
		if err = eventstore.Setup(t.Context(), w.admin, partitions, services); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func (w *world) bus() bus.Config {
	return bus.Config{Brokers: []string{w.broker}, SessionTimeout: 2 * time.Second, Logger: w.log}
}

func (w *world) pool(t *testing.T, schema string) *pgxpool.Pool {
	t.Helper()
	url, err := eventstore.ServiceURL(w.admin, schema, "x")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// run runs a service until the test ends, or stop is called.
func (w *world) run(t *testing.T, schema string, def service.Definition, bind func(*service.Runtime)) *service.Runtime {
	t.Helper()
	rt, _ := w.start(t, schema, def, bind)
	return rt
}

func (w *world) start(t *testing.T, schema string, def service.Definition, bind func(*service.Runtime)) (rt *service.Runtime, stop func()) {
	t.Helper()
	rt, err := service.New(def, service.Deps{
		DB: w.pool(t, schema), Bus: w.bus(), Partitions: partitions, Registry: w.registry, Logger: w.log,
		Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }, GraceTime: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if bind != nil {
		bind(rt)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := rt.Run(ctx); err != nil {
			t.Errorf("service %s: %v", def.Name, err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return rt, stop
}

// gateway starts the service under test.
func (w *world) gateway(t *testing.T, cfg llmgateway.Config) (stop func()) {
	t.Helper()
	if cfg.Grace == 0 {
		cfg.Grace = 10 * time.Millisecond
	}
	g, err := llmgateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, stop = w.start(t, "llm", g.Definition(), g.Bind)
	return stop
}

func writer(name string, family events.Family) service.Definition {
	streams := service.NewStreams(family, func(n int, _ events.Event) int { return n + 1 })
	return service.Definition{
		Name: name, Family: family, Consumes: []events.Family{events.Audit}, // a service must hear something
		Handle: func(ctx context.Context, u *service.Unit, in *service.Input) error {
			cmd, ok := in.Command.(facts)
			if !ok {
				return nil
			}
			st, err := streams.Load(ctx, u, in.Tenant, in.Subject)
			if err != nil {
				return err
			}
			st.Append(cmd...)
			return nil
		},
	}
}

func (w *world) tell(t *testing.T, rt *service.Runtime, pid string, evs ...events.Event) {
	t.Helper()
	if _, err := rt.Do(t.Context(), events.DefaultTenant, pid, facts(evs)); err != nil {
		t.Fatal(err)
	}
}

// window is the facts that put messages before a model: those new since keep, and the window of all.
func window(step, keep int, model string, messages []chat.Message, change func(*agentctx.WindowAssembled)) []events.Event {
	a := agentctx.WindowAssembled{
		Step: step, Epoch: 1, Keep: keep, Hash: chat.Chain(messages), Pages: len(messages), Tokens: 10 * len(messages),
		Model: model, MaxOutputTokens: 500, RemainingTokens: 1 << 30, RemainingMicro: -1, Deadline: time.Now().Add(time.Minute),
	}
	var evs []events.Event
	for _, m := range messages[keep:] {
		a.Appended = append(a.Appended, m.Hash())
		evs = append(evs, agentctx.PageWritten{Hash: m.Hash(), Message: &m, Tokens: 10})
	}
	if change != nil {
		change(&a)
	}
	return append(evs, a)
}

// calls is the gateway's facts about a process, once the last of them is an end of a step.
func (w *world) calls(t *testing.T, pid string, step int) []events.Event {
	t.Helper()
	return w.until(t, pid, func(evs []events.Event) bool {
		switch e := evs[len(evs)-1].(type) {
		case llm.CallFinished:
			return e.Call.Step == step
		case llm.CallFailed:
			return e.Call.Step == step
		case llm.CallCancelled:
			return e.Call.Step == step
		case llm.CallRefused:
			return e.Call.Step == step
		}
		return false
	})
}

// until is the stream llm/<subject> once it is as wanted.
func (w *world) until(t *testing.T, subject string, wanted func([]events.Event) bool) []events.Event {
	t.Helper()
	deadline := time.Now().Add(patience)
	var evs []events.Event
	for time.Now().Before(deadline) {
		evs = w.stream(t, subject)
		if len(evs) > 0 && wanted(evs) {
			return evs
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("after %s the stream llm/%s is %s", patience, subject, kinds(evs))
	return nil
}

func (w *world) stream(t *testing.T, subject string) []events.Event {
	t.Helper()
	recs, err := eventstore.ReadStream(t.Context(), w.db, events.DefaultTenant, events.LLM.Stream(subject), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var evs []events.Event
	for _, r := range recs {
		e, err := w.registry.Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		evs = append(evs, e)
	}
	return evs
}

func kinds(evs []events.Event) string {
	var names []string
	for _, e := range evs {
		names = append(names, strings.TrimPrefix(e.Kind(), "llm."))
	}
	return strings.Join(names, " ")
}

func last[E events.Event](t *testing.T, evs []events.Event) E {
	t.Helper()
	e, ok := evs[len(evs)-1].(E)
	if !ok {
		t.Fatalf("the last of %s is %+v", kinds(evs), evs[len(evs)-1])
	}
	return e
}

func newPID() string { return "p" + strings.ReplaceAll(uuid.NewString(), "-", "")[:26] }
