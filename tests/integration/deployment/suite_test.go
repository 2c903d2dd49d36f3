package deployment

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// body is one test of a deployment.
type body struct {
	name string
	slow bool // only in the whole suite: AGENTOS_TEST_DEPLOYMENT=all
	run  func(t *testing.T, w *world)
}

// bodies run one after the other on one deployment; from "two replicas" on it has two of every service.
func bodies() []body {
	return []body{
		{"a task is submitted and completes", false, submit},
		{"a conversation goes on with a message", false, message},
		{"a stream resumes behind any event", false, stream},
		{"a process is told to end", false, signal},
		{"two replicas of every service share the work", false, rebalance},
		{"a replica of every service is killed", false, killed},
		{"a replica of every service is frozen", false, frozen},
		{"a replica of every service is cut off the network", true, cutOff},
		{"Kafka is restarted", true, kafkaRestarts(false)},
		{"Kafka is killed", false, kafkaRestarts(true)},
		{"Postgres is restarted", true, postgresRestarts(false)},
		{"Postgres is killed", false, postgresRestarts(true)},
		{"one replica of every service is enough again", true, scaledDown},
	}
}

// whole reports whether the slow bodies run as well.
func whole() bool { return os.Getenv("AGENTOS_TEST_DEPLOYMENT") == "all" }

// TestProcesses runs the suite on processes of this machine.
func TestProcesses(t *testing.T) { //nolint:paralleltest // twelve processes want the machine for themselves
	suite(t, newProcesses)
}

// suite runs the bodies, and the upgrade on a deployment of its own, which begins with the commit before.
func suite(t *testing.T, start func(*testing.T, version) deployment) {
	t.Helper()
	t.Run("operations", func(t *testing.T) {
		w := newWorld(t, start(t, newest))
		for _, b := range bodies() {
			if !t.Run(b.name, func(t *testing.T) { w.under(t, b) }) {
				t.Fatal("the bodies after a failed one would find what it left behind")
			}
		}
	})
	t.Run("a new version is rolled out", func(t *testing.T) {
		if !whole() {
			t.Skip("slow: make nightly and AGENTOS_TEST_DEPLOYMENT=all run it")
		}
		upgrade(t, newWorld(t, start(t, previous)))
	})
}

// world is a deployment with what has been asked of it.
type world struct {
	deployment

	c     *client.Client
	tasks int // processes begun
}

func newWorld(t *testing.T, d deployment) *world {
	t.Helper()
	return &world{deployment: d, c: d.client()}
}

// under runs a body and then checks all there is: nobody may find afterwards that something was lost.
func (w *world) under(t *testing.T, b body) {
	t.Helper()
	if b.slow && !whole() {
		t.Skip("slow: make integration, make nightly and AGENTOS_TEST_DEPLOYMENT=all run it")
	}
	start := time.Now()
	b.run(t, w)
	w.check(t)
	fmt.Printf("%s: %.1f s\n", t.Name(), time.Since(start).Seconds())
}

// check: every process that was begun is there once and has ended, and the audit log verifies.
func (w *world) check(t *testing.T) {
	t.Helper()
	n := 0
	for a, err := range w.c.Agents(t.Context(), client.AgentFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if !client.Ended(a.State) {
			t.Errorf("%s is still %s", a.PID, a.State)
		}
		n++
	}
	if n != w.tasks {
		t.Errorf("%d processes were begun, there are %d", w.tasks, n)
	}
	kernel.AuditVerified(t, w.c)
}

const (
	atOnce    = 4 // conversations of the load
	loadLimit = 4 * time.Minute
	// faultLimit bounds how long a fault may hold up new work on a busy machine.
	faultLimit = 90 * time.Second
)

// load begins to work; the function given back stops it and checks it.
func (w *world) load(t *testing.T) (l *kernel.Load, check func()) {
	t.Helper()
	l = kernel.StartLoad(t, w.c, t.Name(), atOnce, loadLimit)
	return l, func() {
		t.Helper()
		l.Check(t, w.c)
		w.tasks += l.Begun()
	}
}

// progress waits until the load has brought n more conversations to their end.
func progress(t *testing.T, l *kernel.Load, n int) {
	t.Helper()
	want := l.Done() + n
	for deadline := time.Now().Add(faultLimit); l.Done() < want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d of %d conversations have ended after %s", l.Done(), want, faultLimit)
		}
	}
}

// opening is the begin of a recorded conversation as a task of its own: the recorded reply ends it.
func opening(t *testing.T) (spec api.AgentSpec, reply string) {
	t.Helper()
	tape := kernel.Airline(t)
	m := tape.Conversations[0].Messages
	return api.AgentSpec{Name: "task", System: m[0].String(), Task: m[1].String(), Model: "replay/" + tape.Header.Name}, m[2].String()
}
