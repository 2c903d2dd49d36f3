// Package crash kills the kernel at random points, with SIGKILL, while it runs recorded conversations and
// a task with real tools, and checks that nothing is lost and nothing is done twice.
package crash

import (
	"context"
	"encoding/json"
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
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
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
	audit(t, c)
	fmt.Printf("%s: killed %d times\n", t.Name(), killed)
	if err := p.Stop(30 * time.Second); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestKillServices kills single services beside their infrastructure.
func TestKillServices(t *testing.T) { //nolint:paralleltest // it wants the machine for itself
	home, rnd := kernel.Home(t), random(t)
	roots := filepath.Join(home, "workspaces")
	infra := kernel.Start(t, home, "infra", nil, "serve", "infra", "--json")
	infra.Ready(t, readyLimit)
	names := []string{"scheduler", "context", "llm-gateway", "tools", "audit", "learning"}
	edge := "127.0.0.1:" + kernel.Port(t)
	ports, procs := map[string]string{}, map[string]*kernel.Process{}
	edgeArgs := []string{"serve", "edge", "--json", "--http", edge}
	for _, n := range names {
		ports[n] = "127.0.0.1:" + kernel.Port(t)
		edgeArgs = append(edgeArgs, "--upstream", n+"=http://"+ports[n])
	}
	serve := func(n string) {
		args := append([]string{"serve", n, "--json", "--http", ports[n], "--workspace-root", roots}, kernel.Examples(t)...)
		procs[n] = kernel.Start(t, home, n, nil, args...)
	}
	for _, n := range names {
		serve(n)
	}
	for _, n := range names {
		procs[n].Ready(t, readyLimit)
	}
	kernel.Start(t, home, "edge", nil, edgeArgs...).Ready(t, readyLimit)
	c := kernel.Client(t, home, "http://"+edge)
	killed := map[string]int{}
	for round, n := 0, 0; n < *points; round++ {
		work := begin(t, c, roots, fmt.Sprintf("round-%d", round))
		for n < *points && !work.over() {
			time.Sleep(time.Duration(rnd.IntN(900)) * time.Millisecond)
			victim := names[rnd.IntN(len(names))]
			procs[victim].Kill()
			killed[victim]++
			n++
			serve(victim)
			procs[victim].Ready(t, readyLimit)
		}
		work.check(t, c)
	}
	audit(t, c)
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
	space := filepath.Join(roots, prefix)
	if err := os.CopyFS(space, os.DirFS(filepath.Join(root, "examples", "report", "data"))); err != nil {
		t.Fatal(err)
	}
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
		once(t, c, pid)
	}
}

// once checks that each call of a process has ended once, and that versions have no holes.
func once(t *testing.T, c *client.Client, pid string) {
	t.Helper()
	ends, versions, ended := map[string]int{}, map[string]int64{}, 0
	for e, err := range c.Events(t.Context(), pid, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.StreamVersion != versions[e.Stream]+1 {
			t.Errorf("%s: version %d follows %d", e.Stream, e.StreamVersion, versions[e.Stream])
		}
		versions[e.Stream] = e.StreamVersion
		switch e.Kind {
		case "llm.call_finished", "llm.call_failed", "llm.call_cancelled", "llm.call_refused":
			ends["llm "+callID[llm.CallFinished](e.Data, func(v llm.CallFinished) string { return v.Call.ID })]++
		case "tool.call_finished", "tool.call_failed", "tool.call_cancelled":
			ends["tool "+callID[tool.CallFinished](e.Data, func(v tool.CallFinished) string { return v.Call.ID })]++
		case "agent.completed", "agent.failed", "agent.terminated":
			ended++
		}
	}
	for call, n := range ends {
		if n != 1 {
			t.Errorf("%s ended %d times", call, n)
		}
	}
	if ended != 1 {
		t.Errorf("%s ended %d times", pid, ended)
	}
}

func callID[T any](data json.RawMessage, id func(T) string) string {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return err.Error()
	}
	return id(v)
}

// audit checks the log once it has heard everything.
func audit(t *testing.T, c *client.Client) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		v, err := c.VerifyAudit(t.Context())
		if err == nil && v.OK {
			fmt.Printf("%s: audit log verified, %d entries\n", t.Name(), v.Size)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("audit log: %+v, %v", v, err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}
