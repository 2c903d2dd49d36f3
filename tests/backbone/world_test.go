// Package backbone_test drives the operator's side of the event backbone on a real Postgres and the
// embedded broker: parked events, rebuilds, the relay of another replica, figures.
package backbone_test

import (
	"context"
	"io/fs"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const tenant = events.DefaultTenant

// heardSQL is the listener's read model: what it heard, with the time it was heard at.
const heardSQL = `CREATE TABLE heard (tenant text, stream text, version bigint, content text, at timestamptz,
	PRIMARY KEY (tenant, stream, version));`

func newWorld(t *testing.T) *testkit.World {
	t.Helper()
	tables := fstest.MapFS{"001_heard.sql": {Data: []byte(heardSQL)}}
	return testkit.NewWorld(t, eventstore.Service{Name: "scheduler", Family: events.Agent},
		eventstore.Service{Name: "llm", Family: events.LLM, Migrations: []fs.FS{tables}})
}

type (
	count struct{ n int }
	write struct{ content string }
)

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
			st, err := streams.Load(ctx, u, in.Tenant, in.Subject)
			if err != nil {
				return err
			}
			st.Append(agent.MessageReceived{MessageID: strconv.Itoa(st.State.n + 1), Content: cmd.content})
			return nil
		},
	}
}

// listener writes what it hears into its table. While sick it cannot handle "poison".
type listener struct {
	sick   atomic.Bool
	clocky bool // a read model that looks at the wall: its rebuild differs
	mu     sync.Mutex
	order  map[string][]int64
}

func (l *listener) definition() service.Definition {
	return service.Definition{
		Name: "llm", Family: events.LLM, Consumes: []events.Family{events.Agent},
		Handle: func(_ context.Context, u *service.Unit, in *service.Input) error {
			m, ok := in.Event.(agent.MessageReceived)
			if !ok {
				return nil
			}
			if m.Content == "poison" && l.sick.Load() {
				return fault.New(fault.Invalid, "test", "cannot stand this")
			}
			r := in.Record
			content := m.Content
			if l.clocky && u.Rebuilding() {
				content += " again"
			}
			u.Exec(`INSERT INTO heard VALUES ($1, $2, $3, $4, $5)`, r.Tenant, r.Stream, r.StreamVersion, content, r.Time)
			l.note(u, r.Stream, r.StreamVersion)
			return nil
		},
	}
}

// note remembers what was handled, in its order, once it is durable.
func (l *listener) note(u *service.Unit, stream string, version int64) {
	u.AfterCommit(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.order == nil {
			l.order = map[string][]int64{}
		}
		l.order[stream] = append(l.order[stream], version)
	})
}

func (l *listener) heard(stream string) []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]int64(nil), l.order[stream]...)
}

func send(t *testing.T, rt *service.Runtime, subject string, contents ...string) {
	t.Helper()
	for _, c := range contents {
		if _, err := rt.Do(t.Context(), tenant, subject, write{c}); err != nil {
			t.Fatal(err)
		}
	}
}

// operator is a connection of the listener's role.
func operator(t *testing.T, w *testkit.World) *pgx.Conn {
	t.Helper()
	url, err := eventstore.ServiceURL(w.Admin, "llm", "llm")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func parked(t *testing.T, conn *pgx.Conn) []service.Parked {
	t.Helper()
	list, err := service.ListParked(t.Context(), conn, "")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func states(list []service.Parked) (n map[string]int) {
	n = map[string]int{}
	for _, p := range list {
		n[p.State]++
	}
	return n
}

// waiting counts what is parked and not dropped.
func waiting(list []service.Parked) int { return len(list) - states(list)["dropped"] }
