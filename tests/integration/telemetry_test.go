package integration

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/telemetry"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// logLines are the lines of a process's log; every one must be a JSON object with time, level and message.
func logLines(t *testing.T, home, name string) []map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(home, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for line := range bytes.Lines(raw) {
		m := map[string]any{}
		if err := json.Unmarshal(line, &m); err != nil || m["time"] == nil || m["level"] == nil || m["msg"] == nil {
			t.Fatalf("%s logs a line that is not JSON as it should be: %s", name, line)
		}
		out = append(out, m)
	}
	return out
}

// TestLogAndMetrics: what a request leaves in the log of the running kernel, in the process that took it
// and in the service that failed because of it, carries the caller's trace; and /metrics has the metrics
// that are declared, and none besides.
func TestLogAndMetrics(t *testing.T) {
	t.Parallel()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	e := kernel.NewEngine(t, script)
	k := kernel.Up(t, e.Env(), "--log-level", "debug")
	got := k.Do(t, kernel.Request{
		Method: http.MethodPost, Path: "/v1/agents", Body: `{"task":"always refuse","model":"` + tiny + `"}`,
		Header: map[string]string{"traceparent": "00-" + trace + "-00f067aa0ba902b7-01"},
	})
	var a api.Agent
	if err := json.Unmarshal(got.Body, &a); err != nil || got.Status != http.StatusCreated && got.Status != http.StatusAccepted {
		t.Fatalf("%d %s %v", got.Status, got.Body, err)
	}
	if a = wait(t, k, a.PID); a.State != api.StateFailed {
		t.Fatalf("%s, want failed", a.State)
	}
	checkMetrics(t, string(k.Do(t, get("/metrics")).Body))
	if err := k.Process.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	seen, other := map[string]bool{}, 0
	for _, line := range logLines(t, k.Home, "up") {
		if line["trace_id"] != nil && line["span_id"] == nil {
			t.Errorf("a trace without a span: %v", line)
		}
		switch {
		case line["trace_id"] == trace:
			msg, _ := line["msg"].(string)
			seen[msg] = true
		case line["msg"] == "request" && line["trace_id"] != nil:
			other++
		}
	}
	if !seen["request"] || !seen["model call failed"] {
		t.Errorf("lines of the caller's trace: %v", seen)
	}
	if other == 0 {
		t.Error("requests without a trace of the caller's have none of their own")
	}
}

func checkMetrics(t *testing.T, page string) {
	t.Helper()
	declared := map[string]telemetry.Metric{}
	for _, m := range telemetry.Metrics() {
		declared[m.Name] = m
	}
	served := map[string]string{}
	for line := range strings.Lines(page) {
		if f := strings.Fields(line); len(f) == 4 && f[1] == "TYPE" && strings.HasPrefix(f[2], "agentos_") {
			served[f[2]] = f[3]
		}
	}
	for name, typ := range served {
		if m, ok := declared[name]; !ok || string(m.Type) != typ {
			t.Errorf("/metrics has %s %s, declared is %q", typ, name, m.Type)
		}
	}
	for name, m := range declared {
		// The retries have no series before the first.
		if _, ok := served[name]; !ok && name != telemetry.BatchRetries().Name {
			t.Errorf("%s %s is declared, but not on /metrics", m.Type, name)
		}
	}
}

// TestServeLogsJSON: what runs in a container logs for programs unless told otherwise.
func TestServeLogsJSON(t *testing.T) {
	t.Parallel()
	home := kernel.Home(t)
	infra := kernel.Start(t, home, "infra", []string{"AGENTOS_LOG="}, "serve", "infra", "--json")
	infra.Ready(t, time.Minute)
	if len(logLines(t, home, "infra")) == 0 {
		t.Error("nothing is logged of a first start")
	}
	if err := infra.Stop(30 * time.Second); err != nil {
		t.Error(err)
	}
}
