package service_test

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/seal"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

// sealedWorld is a world whose bodies are sealed.
func sealedWorld(t *testing.T) *testkit.World {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master.key")
	err := seal.MakeMasterFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	if w.Master, err = seal.ReadMaster(path); err != nil {
		t.Fatal(err)
	}
	return w
}

// ear hears messages.
type ear struct {
	mu    sync.Mutex
	heard []string
}

func (e *ear) definition() service.Definition {
	return service.Definition{
		Name: "llm", Family: events.LLM, Consumes: []events.Family{events.Agent},
		Handle: func(_ context.Context, u *service.Unit, in *service.Input) error {
			if m, ok := in.Event.(agent.MessageReceived); ok {
				u.AfterCommit(func() {
					e.mu.Lock()
					defer e.mu.Unlock()
					e.heard = append(e.heard, m.Content)
				})
			}
			return nil
		},
	}
}

func (e *ear) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.heard)
}

func as(t *testing.T, rt *service.Runtime, tenant, subject, content string) {
	t.Helper()
	if _, err := rt.Do(t.Context(), tenant, subject, write{content}); err != nil {
		t.Fatal(err)
	}
}

// What two tenants say is ciphertext in the store; services read it all the same. A body that was changed
// is parked. After one tenant is erased its events are passed over, counted and not parked, by a service
// that had not read them yet and by a rebuild; the other tenant's are read as before.
func TestSealedBodies(t *testing.T) {
	t.Parallel()
	w := sealedWorld(t)
	wr := w.Runtime(t, writer())
	stopWriter := w.Run(t, wr)
	e := &ear{}
	stopEar := w.Run(t, w.Runtime(t, e.definition()))
	as(t, wr, "a", "p", "secret of a")
	as(t, wr, "b", "q", "secret of b")
	testkit.Eventually(t, "both heard", func() bool { return len(e.all()) == 2 })
	stopEar()
	as(t, wr, "a", "p", "secret later of a")
	as(t, wr, "b", "q", "secret later of b")
	as(t, wr, "b", "changed", "secret that is damaged")

	owner, err := pgx.Connect(t.Context(), w.Admin)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = owner.Close(context.WithoutCancel(t.Context())) }()
	recs, err := eventstore.ReadAll(t.Context(), owner, 0, 1<<62, 100)
	if err != nil || len(recs) != 5 {
		t.Fatalf("%d events, %v", len(recs), err)
	}
	for _, r := range recs {
		if !events.Sealed(r.Data) || bytes.Contains(r.Data, []byte("secret")) {
			t.Errorf("stored is %q", r.Data)
		}
		if sent := service.ToMessage(r); !bytes.Equal(sent.Payload, r.Data) || sent.Metadata["content-type"] == "application/json" {
			t.Errorf("sent is not what is stored: %v", sent.Metadata)
		}
	}
	if err := service.Hold(t.Context(), owner, []string{"llm", "scheduler"}); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "scheduler") {
		t.Errorf("beside a live service: %v", err)
	}
	stopWriter()
	if _, err := owner.Exec(t.Context(), "UPDATE eventstore.events SET data = set_byte(data, 60, get_byte(data, 60) # 1) WHERE stream = 'agent/changed'"); err != nil {
		t.Fatal(err)
	}
	if n, err := seal.Erase(t.Context(), owner, "a"); err != nil || n != 1 {
		t.Fatalf("%d keys deleted, %v", n, err)
	}

	// On an empty broker everything comes from the store.
	e = &ear{}
	w2 := &testkit.World{Admin: w.Admin, Broker: testkit.Broker(t), Log: w.Log, Master: w.Master}
	w2.Topics(t)
	rt := w2.Runtime(t, e.definition())
	stopEar = w2.Run(t, rt)
	conn := operatorOf(t, w.Admin)
	testkit.Eventually(t, "b is heard, the damaged one parked", func() bool {
		list, err := service.ListParked(t.Context(), conn, "")
		return err == nil && len(list) == 1 && list[0].Stream == "agent/changed" && slices.Contains(e.all(), "secret later of b")
	})
	testkit.Eventually(t, "the erased one is passed", func() bool {
		var at int64
		err := conn.QueryRow(t.Context(), "SELECT version FROM positions WHERE tenant = 'a' AND stream = 'agent/p'").Scan(&at)
		return err == nil && at == 2
	})
	for _, got := range e.all() {
		if !strings.HasSuffix(got, "of b") {
			t.Errorf("heard %q", got)
		}
	}
	if _, err := rt.Decode(recs[0]); !fault.Is(err, fault.NotFound) {
		t.Errorf("an erased event: %v", err)
	}
	stopEar()
	if n, err := rt.Erase(t.Context(), "b"); err != nil || n != 1 {
		t.Errorf("%d rows deleted, want the parked one: %v", n, err)
	}
}

func operatorOf(t *testing.T, admin string) *pgx.Conn {
	t.Helper()
	url, err := eventstore.ServiceURL(admin, "llm", "llm")
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
