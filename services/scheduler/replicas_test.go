package scheduler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
	"github.com/agentos-kernel/agentos/services/scheduler"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/core"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/handle"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/store"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const tenant = events.DefaultTenant

// replica is a running scheduler.
func replica(t *testing.T, w *testkit.World) *service.Runtime {
	t.Helper()
	s, err := scheduler.New(scheduler.Config{Bus: w.Bus()})
	if err != nil {
		t.Fatal(err)
	}
	def, err := s.Definition()
	if err != nil {
		t.Fatal(err)
	}
	rt := w.Runtime(t, def)
	s.Bind(rt)
	w.Run(t, rt)
	return rt
}

// model appends what a command says to the llm stream of its subject.
func model() service.Definition {
	streams := service.NewStreams(events.LLM, func(n int, _ events.Event) int { return n + 1 })
	return service.Definition{
		Name: "llm", Family: events.LLM, Consumes: []events.Family{events.Agent},
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

func do(t *testing.T, rt *service.Runtime, pid string, cmd any) {
	t.Helper()
	if _, err := rt.Do(t.Context(), tenant, pid, cmd); err != nil {
		t.Fatal(err)
	}
}

// pair is two schedulers that share the shards, and a pid of the first.
func pair(t *testing.T) (owner, other, llmService *service.Runtime, pid string) {
	t.Helper()
	migrations, err := scheduler.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	w := testkit.NewWorld(t, eventstore.Service{Name: "scheduler", Family: events.Agent, Migrations: []fs.FS{migrations}},
		eventstore.Service{Name: "llm", Family: events.LLM})
	owner, other, llmService = replica(t, w), replica(t, w), w.Runtime(t, model())
	w.Run(t, llmService)
	testkit.Eventually(t, "both own shards", func() bool {
		return len(owner.Owned()) == 2 && len(other.Owned()) == 2 && owner.Ready(t.Context()) == nil && other.Ready(t.Context()) == nil
	})
	return owner, other, llmService, testkit.Subject(owner)
}

// converse begins a conversation on the owner and lets it answer once.
func converse(t *testing.T, owner, llmService *service.Runtime, pid string) {
	t.Helper()
	spawn := core.Defaults(agent.Spawned{Task: "talk", Mode: agent.ModeConversation, Model: "m/m", Priority: core.DefaultPriority})
	do(t, owner, pid, handle.Spawn{Spawn: spawn, Render: func(store.Process) (json.RawMessage, error) { return json.RawMessage("{}"), nil }})
	awaitState(t, owner, pid, core.Running, 1)
	do(t, llmService, pid, llm.CallFinished{Call: llm.Call{Step: 1, Attempt: 1}, Message: chat.Text(chat.Assistant, "hello")})
	awaitState(t, owner, pid, core.Waiting, 1)
}

func awaitState(t *testing.T, rt *service.Runtime, pid string, status core.Status, steps int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("%s is %s in step %d", pid, status, steps), func() bool {
		p, err := store.Get(t.Context(), rt.DB(), tenant, pid)
		return err == nil && p.State == status && p.Usage.Steps == steps
	})
}

// What comes to a replica that does not own the process wakes it on the one that does, although that
// one's fold still says that it waits.
func TestAMessageToTheOtherReplicaIsHeard(t *testing.T) {
	t.Parallel()
	owner, other, llmService, pid := pair(t)
	converse(t, owner, llmService, pid)
	start := time.Now()
	do(t, other, pid, handle.Message{Message: agent.MessageReceived{MessageID: "m1", Content: "and now?"}})
	awaitState(t, owner, pid, core.Running, 2)
	t.Logf("from the request to the grant on the other replica: %v", time.Since(start))
}

// The same for the deadline that a signal sets: the owner's timer finds it in the row, not in its fold.
func TestASignalToTheOtherReplicaEndsTheProcess(t *testing.T) {
	t.Parallel()
	owner, other, _, pid := pair(t)
	spawn := core.Defaults(agent.Spawned{Task: "work", Model: "m/m", Priority: core.DefaultPriority})
	do(t, owner, pid, handle.Spawn{Spawn: spawn, Render: func(store.Process) (json.RawMessage, error) { return json.RawMessage("{}"), nil }})
	awaitState(t, owner, pid, core.Running, 1)
	do(t, other, pid, handle.Signal{Signal: "terminate", Deadline: time.Now().Add(300 * time.Millisecond)})
	awaitState(t, owner, pid, core.Terminated, 1)
}
