// Package examples runs what the repository shows newcomers, as they would run it.
package examples

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// TestReportExample: the agent file runs to its end with the real tools, writes the report, can be recorded
// and replayed, and the kernel it ran on is in good health.
func TestReportExample(t *testing.T) {
	t.Parallel()
	tapes := t.TempDir()
	k := kernel.Up(t, nil, "--cassettes", tapes)
	file := filepath.Join(kernel.Root(t), "examples", "report", "agent.yaml")
	space := kernel.CopyData(t, k.Roots, "first")
	tape := filepath.Join(tapes, "mine.jsonl")
	first := runAgent(t, k, "run", "-f", file, "--workspace", space, "--record", tape, "--json")
	checkReport(t, first, space)

	// The recording is a model of its own, found within a few seconds.
	space = kernel.CopyData(t, k.Roots, "second")
	awaitModel(t, k, "replay/mine")
	again := runAgent(t, k, "run", "-f", file, "--model", "replay/mine", "--workspace", space, "--json")
	checkReport(t, again, space)
	if again.Result != first.Result {
		t.Errorf("the recording answers %q, recorded was %q", again.Result, first.Result)
	}
	t.Run("a failing task ends with an error", func(t *testing.T) { failingTask(t, k) }) //nolint:paralleltest // on the same kernel
	t.Run("doctor finds nothing wrong", func(t *testing.T) { healthy(t, k) })            //nolint:paralleltest // on the same kernel
	kernel.AuditVerified(t, k.Client)
}

func runAgent(t *testing.T, k *kernel.Kernel, args ...string) api.Agent {
	t.Helper()
	ran := kernel.CLI(t, k.Home, args...)
	var a api.Agent
	if err := json.Unmarshal([]byte(ran.Out), &a); ran.Code != 0 || err != nil {
		t.Fatalf("agentos %s: code %d, %v\n%s%s", strings.Join(args, " "), ran.Code, err, ran.Out, ran.ErrOut)
	}
	return a
}

func checkReport(t *testing.T, a api.Agent, space string) {
	t.Helper()
	if a.State != api.StateCompleted || a.Usage.ToolCalls == 0 || a.Workspace != space {
		t.Errorf("%s with %d tool calls in %s: %+v", a.State, a.Usage.ToolCalls, a.Workspace, a.Error)
	}
	raw, err := os.ReadFile(filepath.Join(space, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range figures(t, space) {
		if !strings.Contains(string(raw), line) {
			t.Errorf("the report lacks %q:\n%s", line, raw)
		}
	}
}

// awaitModel waits until processes can name a model.
func awaitModel(t *testing.T, k *kernel.Kernel, id string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		a, err := k.Client.Spawn(t.Context(), api.AgentSpec{Name: "probe", Task: "is it there?", Model: id})
		if err == nil {
			if _, err := k.Client.Wait(t.Context(), a.PID); err != nil {
				t.Fatal(err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func failingTask(t *testing.T, k *kernel.Kernel) {
	t.Helper()
	ran := kernel.CLI(t, k.Home, "run", "--json", "--model", "replay/report", "a task that is in no recording")
	var a api.Agent
	if err := json.Unmarshal([]byte(ran.Out), &a); err != nil || a.State != api.StateFailed || ran.Code != fault.NotFound.ExitCode() {
		t.Errorf("code %d, %v: %s%s", ran.Code, err, ran.Out, ran.ErrOut)
	}
	if !strings.Contains(ran.ErrOut, `"fix"`) {
		t.Errorf("no fix: %s", ran.ErrOut)
	}
}

func healthy(t *testing.T, k *kernel.Kernel) {
	t.Helper()
	ran := kernel.CLI(t, k.Home, "doctor", "--json")
	var checks []struct {
		Name   string `json:"name"`
		Status string `json:"status"`
		Detail string `json:"detail"`
		Fix    string `json:"fix"`
	}
	if err := json.Unmarshal([]byte(ran.Out), &checks); err != nil || len(checks) < 6 {
		t.Fatalf("%v: %s%s", err, ran.Out, ran.ErrOut)
	}
	for _, c := range checks {
		if c.Status == "fail" {
			t.Errorf("%s: %s; %s", c.Name, c.Detail, c.Fix)
		}
		if c.Status == "warn" && c.Fix == "" {
			t.Errorf("a warning without a fix: %s: %s", c.Name, c.Detail)
		}
	}
	if ran.Code != 0 {
		t.Errorf("doctor ended with %d: %s", ran.Code, ran.ErrOut)
	}
}

// TestVerbsWithoutAKernel: every verb that needs the kernel says so, with what to do, and does not end well.
func TestVerbsWithoutAKernel(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	for _, args := range [][]string{
		{"run", "--model", "replay/report", "task"},
		{"ps"},
		{"logs", "p06ar2vr4t7m0yc8h3n5wq1zs8d"},
		{"logs", "-f", "p06ar2vr4t7m0yc8h3n5wq1zs8d"},
		{"send", "p06ar2vr4t7m0yc8h3n5wq1zs8d", "hello"},
		{"kill", "p06ar2vr4t7m0yc8h3n5wq1zs8d"},
		{"trajectory", "p06ar2vr4t7m0yc8h3n5wq1zs8d"},
		{"replay"},
		{"audit", "verify"},
		{"serve", "scheduler", "--http", "127.0.0.1:0"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			plain := kernel.CLI(t, home, args...)
			if plain.Code == 0 || !strings.Contains(plain.ErrOut, "fix: ") || plain.Out != "" {
				t.Errorf("code %d: %s%s", plain.Code, plain.Out, plain.ErrOut)
			}
			var doc struct {
				Error struct {
					Code string `json:"code"`
					Fix  string `json:"fix"`
				} `json:"error"`
			}
			asJSON := kernel.CLI(t, home, append(args, "--json")...)
			if err := json.Unmarshal([]byte(asJSON.ErrOut), &doc); err != nil || asJSON.Code != plain.Code || doc.Error.Code != "unavailable" || doc.Error.Fix == "" {
				t.Errorf("code %d, %v: %s%s", asJSON.Code, err, asJSON.Out, asJSON.ErrOut)
			}
		})
	}
}
