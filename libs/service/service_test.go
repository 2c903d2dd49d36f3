package service_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/eventstore/eventstoretest"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func newWorld(t *testing.T) *testkit.World {
	t.Helper()
	return testkit.NewWorld(t, eventstore.Service{Name: "scheduler", Family: events.Agent},
		eventstore.Service{Name: "llm", Family: events.LLM})
}

// start runs a service until the test ends.
func start(t *testing.T, w *testkit.World, def service.Definition) *service.Runtime {
	t.Helper()
	rt := w.Runtime(t, def)
	w.Run(t, rt)
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

func TestFactsReachTheOtherServiceOnceAndInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := &listener{heard: map[string][]int64{}}
	start(t, w, l.definition())
	rt := start(t, w, writer())
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
		testkit.Eventually(t, subject+" heard all", func() bool { return l.count(subject) == each })
		for i, v := range l.heard[subject] {
			if v != int64(i+1) {
				t.Fatalf("%s: event %d has version %d", subject, i, v)
			}
		}
	}
	var outbox int
	testkit.Eventually(t, "outbox empty", func() bool {
		if err := rt.DB().QueryRow(t.Context(), "SELECT count(*) FROM eventstore.outbox").Scan(&outbox); err != nil {
			t.Fatal(err)
		}
		return outbox == 0
	})
}

func TestRefusedCommandLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rt := start(t, w, writer())
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
	start(t, w, l.definition())
	rt := start(t, w, writer())
	for _, m := range []struct{ subject, content string }{
		{"bad", "fine"}, {"bad", "poison"}, {"bad", "behind"}, {"good", "fine"}, {"good", "fine"},
	} {
		if _, err := rt.Do(t.Context(), events.DefaultTenant, m.subject, write{m.content}); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "good heard", func() bool { return l.count("good") == 2 })
	db := w.Pool(t, "llm")
	var parked int
	testkit.Eventually(t, "two parked", func() bool {
		if err := db.QueryRow(t.Context(), "SELECT count(*) FROM parked WHERE stream = 'agent/bad'").Scan(&parked); err != nil {
			t.Fatal(err)
		}
		return parked == 2
	})
	if n := l.count("bad"); n != 1 {
		t.Fatalf("bad heard %d events, want the one before the poison", n)
	}
}

// TestARollingUpgradeStallsNobodyItDoesNotConcern: a writer that is newer than its reader. What the reader
// looks at waits, parked with the reason; what it does not look at only moves it on.
func TestARollingUpgradeStallsNobodyItDoesNotConcern(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := &listener{heard: map[string][]int64{}}
	def := l.definition()
	def.Uses = []events.Event{agent.MessageReceived{}}
	start(t, w, def)
	start(t, w, writer()) // publishes what is appended below
	const newer = 99
	db := w.Pool(t, "scheduler")
	for _, c := range []struct {
		stream, kind string
		version      int
	}{
		{"agent/unused", "agent.waiting", newer}, {"agent/used", "agent.message_received", newer}, {"agent/unknown", "agent.unheard_of", 1},
	} {
		var b eventstore.Batch
		a := eventstoretest.On(c.stream, 0, 3)
		for i := range a.Records {
			a.Records[i].Kind, a.Records[i].Data = "agent.message_received", []byte(`{"message_id":"m"}`)
		}
		a.Records[1].Kind, a.Records[1].SchemaVersion = c.kind, c.version
		b.Add(a)
		p := &pgx.Batch{}
		b.Queue(p)
		if err := db.SendBatch(t.Context(), p).Close(); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "the messages around the unused fact are heard", func() bool { return l.count("unused") == 2 })
	reader := w.Pool(t, "llm")
	var parked string
	testkit.Eventually(t, "what is used, and what is unknown, waits", func() bool {
		err := reader.QueryRow(t.Context(), `SELECT string_agg(stream || ' ' || version || ' ' || reason, '; ' ORDER BY stream, version) FROM parked`).Scan(&parked)
		return err == nil && strings.Count(parked, ";") == 3
	})
	for _, want := range []string{
		"agent/unknown 2 service.decode: cannot read the event: unknown event agent.unheard_of v1", "agent/unknown 3 ",
		"agent/used 2 service.decode: cannot read the event: unknown event agent.message_received v99", "agent/used 3 ",
	} {
		if !strings.Contains(parked, want) {
			t.Errorf("parked are %q, want %q among them", parked, want)
		}
	}
	if l.count("used") != 1 || l.count("unknown") != 1 {
		t.Errorf("behind what is parked: heard %d and %d, want what came before it alone", l.count("used"), l.count("unknown"))
	}
}

func TestServiceCannotWriteAnothersFamilyOrReadItsTables(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	db := w.Pool(t, "llm")
	for _, sql := range []string{
		`SELECT eventstore.append('{default}','{agent/x}','{0}','{0}','{1}','{1}','{1}',
			ARRAY[gen_random_uuid()::text],'{agent.spawned}','{1}',ARRAY[now()],'{c}','{}','{}',ARRAY[''::bytea])`,
		`SELECT eventstore.append_one('default','agent/x',0,0,gen_random_uuid()::text,'agent.spawned',1,now(),'c','','','')`,
	} {
		_, err := db.Exec(t.Context(), sql)
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" {
			t.Fatalf("the llm role appended to an agent stream: err = %v", err)
		}
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
	rt := start(t, w, writer())
	for range 3 {
		if _, err := rt.Do(t.Context(), events.DefaultTenant, "p", write{"lost"}); err != nil {
			t.Fatal(err)
		}
	}
	// The broker loses everything: the listener joins an empty one.
	w2 := &testkit.World{Admin: w.Admin, Broker: testkit.Broker(t), Log: w.Log}
	w2.Topics(t)
	l := &listener{heard: map[string][]int64{}}
	start(t, w2, l.definition())
	testkit.Eventually(t, "the sweeper found all three", func() bool { return l.count("p") == 3 })
}
