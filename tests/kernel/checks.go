package kernel

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/examples/drive"
	"github.com/agentos-kernel/agentos/libs/client"
)

// Once checks that each call of an ended process has ended once, that no version of its streams is
// missing or twice there, and that the process itself ended once.
func Once(t testing.TB, c *client.Client, pid string) {
	t.Helper()
	ends, versions, ended := map[string]int{}, map[string]int64{}, 0
	for _, e := range eventsToTheEnd(t, c, pid) {
		if e.StreamVersion != versions[e.Stream]+1 {
			t.Errorf("%s: version %d follows %d", e.Stream, e.StreamVersion, versions[e.Stream])
		}
		versions[e.Stream] = e.StreamVersion
		family, _, _ := strings.Cut(e.Kind, ".")
		switch e.Kind {
		case "llm.call_finished", "llm.call_failed", "llm.call_cancelled", "llm.call_refused",
			"tool.call_finished", "tool.call_failed", "tool.call_cancelled":
			ends[family+" "+callID(t, e)]++
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

// eventsToTheEnd waits until the end of an ended process is among its events: the list lags behind its state.
func eventsToTheEnd(t testing.TB, c *client.Client, pid string) []api.Event {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		evs := Events(t, c, pid)
		ended := slices.ContainsFunc(evs, func(e api.Event) bool {
			return e.Kind == "agent.completed" || e.Kind == "agent.failed" || e.Kind == "agent.terminated"
		})
		if ended || time.Now().After(deadline) {
			return evs
		}
	}
}

func callID(t testing.TB, e api.Event) string {
	t.Helper()
	var v struct {
		Call struct {
			ID string `json:"id"`
		} `json:"call"`
	}
	if err := json.Unmarshal(e.Data, &v); err != nil || v.Call.ID == "" {
		t.Errorf("%s %d names no call: %v", e.Stream, e.StreamVersion, err)
	}
	return v.Call.ID
}

// Events are the facts about a process that there are by now.
func Events(t testing.TB, c *client.Client, pid string) []api.Event {
	t.Helper()
	var all []api.Event
	for e, err := range c.Events(t.Context(), pid, 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// Of are the data of the facts of one kind, decoded.
func Of[T any](t testing.TB, evs []api.Event, kind string) []T {
	t.Helper()
	var all []T
	for _, e := range evs {
		if e.Kind != kind {
			continue
		}
		var v T
		if err := json.Unmarshal(e.Data, &v); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		all = append(all, v)
	}
	return all
}

// AwaitEvent waits until a process has a fact of a kind and gives all facts by then.
func AwaitEvent(t testing.TB, c *client.Client, pid, kind string) []api.Event {
	t.Helper()
	deadline := time.Now().Add(startLimit)
	for {
		evs := Events(t, c, pid)
		for _, e := range evs {
			if e.Kind == kind {
				return evs
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has no %s after %s", pid, kind, startLimit)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// AwaitState waits until a process is in one of some states.
func AwaitState(t testing.TB, c *client.Client, pid string, states ...api.AgentState) api.Agent {
	t.Helper()
	deadline := time.Now().Add(startLimit)
	for {
		a, err := c.Agent(t.Context(), pid)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(states, a.State) {
			return a
		}
		if client.Ended(a.State) || time.Now().After(deadline) {
			t.Fatalf("%s is %s (%+v), not one of %v", pid, a.State, a.Error, states)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// AuditVerified waits until the audit log verifies and prints its size.
func AuditVerified(t testing.TB, c *client.Client) {
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

// Drive is a number of recorded airline conversations on their way.
type Drive struct {
	ended  chan struct{}
	count  int
	report drive.Report
	err    error
}

// StartDrive begins the first count recorded conversations; keys begin with prefix.
func StartDrive(t testing.TB, c *client.Client, prefix string, count int, limit time.Duration) *Drive {
	t.Helper()
	tape := Airline(t)
	d := &Drive{ended: make(chan struct{}), count: count}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	go func() {
		defer close(d.ended)
		defer cancel()
		d.report, d.err = drive.Run(ctx, c, tape, tape.Conversations[:count], drive.Options{Prefix: prefix})
	}()
	return d
}

// Over reports whether all conversations have ended.
func (d *Drive) Over() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// Check waits for the end and checks that every transcript is the recording, with nothing lost or done
// twice on the way.
func (d *Drive) Check(t testing.TB, c *client.Client) {
	t.Helper()
	<-d.ended
	if d.err != nil {
		t.Fatal(d.err)
	}
	if d.report.Identical != d.count || d.report.Completed != d.count {
		t.Errorf("%d of %d transcripts identical, %d completed:\n%s", d.report.Identical, d.count, d.report.Completed,
			strings.Join(d.report.Differences, "\n"))
	}
	for _, pid := range d.report.PIDs {
		Once(t, c, pid)
	}
}

// CopyData copies the files of the example report into a new folder below the workspace roots.
func CopyData(t testing.TB, roots, name string) string {
	t.Helper()
	space := filepath.Join(roots, name)
	if err := os.CopyFS(space, os.DirFS(filepath.Join(Root(t), "examples", "report", "data"))); err != nil {
		t.Fatal(err)
	}
	return space
}
