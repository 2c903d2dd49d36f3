package service_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const partitions = 4

// world is one database and one broker with a writing and a listening service.
type world struct {
	admin  string
	broker string
	log    *slog.Logger
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{admin: testkit.Postgres(t), broker: testkit.Broker(t)}
	w.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	own, err := service.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	err = eventstore.Setup(t.Context(), w.admin, partitions, []eventstore.Service{
		{Name: "scheduler", Family: events.Agent, Password: "a", Migrations: []fs.FS{own}},
		{Name: "llm", Family: events.LLM, Password: "b", Migrations: []fs.FS{own}},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = bus.EnsureTopics(t.Context(), w.bus(), []bus.TopicSpec{
		{Name: events.Agent.Topic(), Partitions: partitions, Retention: time.Hour},
		{Name: events.LLM.Topic(), Partitions: partitions, Retention: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) bus() bus.Config {
	return bus.Config{Brokers: []string{w.broker}, SessionTimeout: 2 * time.Second, Logger: w.log}
}

func (w *world) pool(t *testing.T, name, password string) *pgxpool.Pool {
	t.Helper()
	url, err := eventstore.ServiceURL(w.admin, name, password)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// start runs a service until the test ends.
func (w *world) start(t *testing.T, def service.Definition, password string) *service.Runtime {
	t.Helper()
	reg, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	rt, err := service.New(def, service.Deps{
		DB: w.pool(t, def.Name, password), Bus: w.bus(), Partitions: partitions, Registry: reg, Logger: w.log,
		Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }, GraceTime: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rt.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("service %s: %v", def.Name, err)
		}
	})
	return rt
}

type count struct{ n int }

type write struct{ content string }

// writer appends one message per command.
func writer() service.Definition {
	streams := service.NewStreams(events.Agent, func(c count, _ events.Event) count { c.n++; return c })
	return service.Definition{
		Name: "scheduler", Family: events.Agent, Consumes: []events.Family{events.LLM},
		Handle: func(ctx context.Context, u *service.Unit, in *service.Input) error {
			cmd, ok := in.Command.(write)
			if !ok {
				return nil
			}
			if cmd.content == "refuse" {
				return fault.New(fault.Conflict, "test", "refused")
			}
			st, err := streams.Load(ctx, u, in.Tenant, in.Subject)
			if err != nil {
				return err
			}
			st.Append(agent.MessageReceived{MessageID: strconv.Itoa(st.State.n + 1), Content: cmd.content})
			in.Reply(st.Version)
			return nil
		},
	}
}

// listener notes what it hears and answers each message with one event of its own.
type listener struct {
	mu     sync.Mutex
	heard  map[string][]int64
	poison string
}

func (l *listener) definition() service.Definition {
	streams := service.NewStreams(events.LLM, func(c count, _ events.Event) count { c.n++; return c })
	return service.Definition{
		Name: "llm", Family: events.LLM, Consumes: []events.Family{events.Agent},
		Handle: func(ctx context.Context, u *service.Unit, in *service.Input) error {
			m, ok := in.Event.(agent.MessageReceived)
			if !ok {
				return nil
			}
			if m.Content == l.poison && l.poison != "" {
				return fault.New(fault.Invalid, "test", "poison")
			}
			st, err := streams.Load(ctx, u, in.Tenant, in.Subject)
			if err != nil {
				return err
			}
			st.Append(llm.CallRefused{Code: "test", Reason: m.MessageID})
			version, subject := in.Record.StreamVersion, in.Subject
			u.AfterCommit(func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.heard[subject] = append(l.heard[subject], version)
			})
			return nil
		},
	}
}

func (l *listener) count(subject string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.heard[subject])
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestFactsReachTheOtherServiceOnceAndInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := &listener{heard: map[string][]int64{}}
	w.start(t, l.definition(), "b")
	rt := w.start(t, writer(), "a")
	const subjects, each = 8, 40
	var wg sync.WaitGroup
	for s := range subjects {
		wg.Go(func() {
			for range each {
				if _, err := rt.Do(t.Context(), events.DefaultTenant, fmt.Sprintf("p%d", s), write{"hello"}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for s := range subjects {
		subject := fmt.Sprintf("p%d", s)
		eventually(t, subject+" heard all", func() bool { return l.count(subject) == each })
		for i, v := range l.heard[subject] {
			if v != int64(i+1) {
				t.Fatalf("%s: event %d has version %d", subject, i, v)
			}
		}
	}
	var outbox int
	eventually(t, "outbox empty", func() bool {
		if err := rt.DB().QueryRow(t.Context(), "SELECT count(*) FROM eventstore.outbox").Scan(&outbox); err != nil {
			t.Fatal(err)
		}
		return outbox == 0
	})
}

func TestRefusedCommandLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rt := w.start(t, writer(), "a")
	_, err := rt.Do(t.Context(), events.DefaultTenant, "p", write{"refuse"})
	if !fault.Is(err, fault.Conflict) {
		t.Fatalf("err = %v, want a conflict", err)
	}
	recs, err := rt.ReadStream(t.Context(), events.DefaultTenant, "agent/p", 1)
	if err != nil || len(recs) != 0 {
		t.Fatalf("records %v, err %v, want none", recs, err)
	}
}

func TestPoisonIsParkedAndOthersGoOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := &listener{heard: map[string][]int64{}, poison: "poison"}
	w.start(t, l.definition(), "b")
	rt := w.start(t, writer(), "a")
	for _, m := range []struct{ subject, content string }{
		{"bad", "fine"}, {"bad", "poison"}, {"bad", "behind"}, {"good", "fine"}, {"good", "fine"},
	} {
		if _, err := rt.Do(t.Context(), events.DefaultTenant, m.subject, write{m.content}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "good heard", func() bool { return l.count("good") == 2 })
	db := w.pool(t, "llm", "b")
	var parked int
	eventually(t, "two parked", func() bool {
		if err := db.QueryRow(t.Context(), "SELECT count(*) FROM parked WHERE stream = 'agent/bad'").Scan(&parked); err != nil {
			t.Fatal(err)
		}
		return parked == 2
	})
	if n := l.count("bad"); n != 1 {
		t.Fatalf("bad heard %d events, want the one before the poison", n)
	}
}

func TestServiceCannotWriteAnothersFamilyOrReadItsTables(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	db := w.pool(t, "llm", "b")
	_, err := db.Exec(t.Context(), `SELECT eventstore.append('{default}','{agent/x}','{0}','{0}','{1}','{1}','{1}',
		ARRAY[gen_random_uuid()::text],'{agent.spawned}','{1}',ARRAY[now()],'{c}','{}','{}',ARRAY[''::bytea])`)
	if err == nil {
		t.Fatal("the llm role appended to an agent stream")
	}
	if _, err := db.Exec(t.Context(), "SELECT * FROM scheduler.positions"); err == nil {
		t.Fatal("the llm role read the scheduler's tables")
	}
	if _, err := db.Exec(t.Context(), "INSERT INTO eventstore.meta VALUES ('x', 'y')"); err == nil {
		t.Fatal("the llm role wrote the store's own tables")
	}
}

func TestLostMessagesAreFoundInTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rt := w.start(t, writer(), "a")
	for range 3 {
		if _, err := rt.Do(t.Context(), events.DefaultTenant, "p", write{"lost"}); err != nil {
			t.Fatal(err)
		}
	}
	// The broker loses everything: the listener joins an empty one.
	w2 := &world{admin: w.admin, broker: testkit.Broker(t), log: w.log}
	err := bus.EnsureTopics(t.Context(), w2.bus(), []bus.TopicSpec{{Name: events.Agent.Topic(), Partitions: partitions, Retention: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{heard: map[string][]int64{}}
	w2.start(t, l.definition(), "b")
	eventually(t, "the sweeper found all three", func() bool { return l.count("p") == 3 })
}
