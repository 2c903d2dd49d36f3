// Package crash kills the kernel at random points, with SIGKILL, while it runs recorded conversations and
// a task with real tools, and checks that nothing is lost and nothing is done twice.
package crash

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/examples/drive"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

var (
	points = flag.Int("points", 25, "how many times each test kills")
	seed   = flag.Uint64("seed", 0, "seed of the random points; 0 takes a new one")
)

const (
	conversations = 8
	readyLimit    = 40 * time.Second
	roundLimit    = 3 * time.Minute
)

func random(t *testing.T) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (repeat with -seed %d)", s, s)
	fmt.Printf("%s: seed %d\n", t.Name(), s)
	return rand.New(rand.NewPCG(s, 1)) //nolint:gosec // a test wants to be repeatable, not secret
}

// TestKillAllInOne kills `agentos up`.
func TestKillAllInOne(t *testing.T) { //nolint:paralleltest // it wants the machine for itself
	home, rnd := kernel.Home(t), random(t)
	addr := "127.0.0.1:" + kernel.Port(t)
	roots := filepath.Join(home, "workspaces")
	args := append([]string{"up", "--json", "--http", addr, "--workspace-root", roots}, kernel.Examples(t)...)
	up := func() *kernel.Process {
		p := kernel.Start(t, home, "up", nil, args...)
		p.Ready(t, readyLimit)
		return p
	}
	p := up()
	c := kernel.Client(t, home, "http://"+addr)
	killed := 0
	for round := 0; killed < *points; round++ {
		work := begin(t, c, roots, fmt.Sprintf("round-%d", round))
		for killed < *points && !work.over() {
			time.Sleep(time.Duration(rnd.IntN(1200)) * time.Millisecond)
			p.Kill()
			killed++
			p = up()
		}
		work.check(t, c)
	}
	kernel.AuditVerified(t, c)
	fmt.Printf("%s: killed %d times\n", t.Name(), killed)
	if err := p.Stop(30 * time.Second); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestKillServices kills single services beside their infrastructure.
func TestKillServices(t *testing.T) { //nolint:paralleltest // it wants the machine for itself
	rnd, names := random(t), kernel.Names()
	s := kernel.Serve(t)
	killed := map[string]int{}
	for round, n := 0, 0; n < *points; round++ {
		work := begin(t, s.Client, s.Roots, fmt.Sprintf("round-%d", round))
		for n < *points && !work.over() {
			time.Sleep(time.Duration(rnd.IntN(900)) * time.Millisecond)
			victim := names[rnd.IntN(len(names))]
			s.Procs[victim].Kill()
			killed[victim]++
			n++
			s.Start(t, victim)
			s.Procs[victim].Ready(t, readyLimit)
		}
		work.check(t, s.Client)
	}
	kernel.AuditVerified(t, s.Client)
	fmt.Printf("%s: killed %v\n", t.Name(), killed)
}

// work is the load of one round.
type work struct {
	done   atomic.Bool
	ended  chan struct{}
	report drive.Report
	task   api.Agent
	err    error
	output string
}

// begin starts the conversations and the task with real tools.
func begin(t *testing.T, c *client.Client, roots, prefix string) *work {
	t.Helper()
	root := kernel.Root(t)
	tape, err := cassette.Open(filepath.Join(root, "examples", "airline", "airline.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	space := kernel.CopyData(t, roots, prefix)
	script, err := cassette.Open(filepath.Join(root, "examples", "report", "answers.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	w := &work{ended: make(chan struct{}), output: filepath.Join(space, "report.md")}
	go func() {
		defer close(w.ended)
		ctx, cancel := context.WithTimeout(context.Background(), roundLimit)
		defer cancel()
		task := make(chan error, 1)
		go func() { task <- w.runTask(ctx, c, prefix, space, script) }()
		w.report, w.err = drive.Run(ctx, c, tape, tape.Conversations[:conversations], drive.Options{Prefix: prefix})
		if err := <-task; w.err == nil {
			w.err = err
		}
		w.done.Store(true)
	}()
	return w
}

func (w *work) over() bool { return w.done.Load() }

func (w *work) runTask(ctx context.Context, c *client.Client, prefix, space string, script *cassette.Cassette) error {
	messages := script.Conversations[0].Messages
	return drive.Insist(ctx, func() (err error) {
		w.task, err = c.Spawn(client.WithKey(ctx, prefix+"/report"), api.AgentSpec{
			Name: "reporter", System: messages[0].String(), Task: messages[1].String(), Model: "replay/report",
			Tools: []string{"list_dir", "read_file", "calculator", "write_file"}, Workspace: space,
		})
		if err == nil {
			w.task, err = c.Wait(ctx, w.task.PID)
		}
		return err
	})
}

// check waits for the end of the round and looks at everything that happened in it.
func (w *work) check(t *testing.T, c *client.Client) {
	t.Helper()
	<-w.ended
	if w.err != nil {
		t.Fatal(w.err)
	}
	if w.report.Identical != conversations || w.report.Completed != conversations {
		t.Errorf("%d of %d transcripts identical, %d completed:\n%s", w.report.Identical, conversations, w.report.Completed,
			strings.Join(w.report.Differences, "\n"))
	}
	if w.task.State != api.StateCompleted {
		t.Errorf("the task ended %s: %+v", w.task.State, w.task.Error)
	}
	if _, err := os.Stat(w.output); err != nil {
		t.Errorf("the task wrote no report: %v", err)
	}
	for _, pid := range append(w.report.PIDs, w.task.PID) {
		kernel.Once(t, c, pid)
	}
}
