package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/agentos-kernel/agentos/libs/fault"
)

func TestLinesCarryTheirTrace(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, form := range []string{LogJSON, LogText} {
		var out bytes.Buffer
		log, err := NewLogger(&out, form, "info")
		if err != nil {
			t.Fatal(err)
		}
		log = log.With("service", "x")
		ctx := ContextWithTrace(t.Context(), parent)
		log.InfoContext(ctx, "within")
		log.InfoContext(t.Context(), "outside")
		log.DebugContext(ctx, "too low")
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "4bf92f3577b34da6a3ce929d0e0e4736") ||
			!strings.Contains(lines[0], "00f067aa0ba902b7") || strings.Contains(lines[1], "trace_id") {
			t.Errorf("%s: %q", form, lines)
		}
		if form == LogJSON {
			m := map[string]any{}
			if err := json.Unmarshal([]byte(lines[0]), &m); err != nil || m["trace_id"] == nil || m["span_id"] == nil || m["service"] != "x" {
				t.Errorf("%v %v", m, err)
			}
		}
	}
}

func TestLogRefuses(t *testing.T) {
	t.Parallel()
	_, err := NewLogger(&bytes.Buffer{}, "xml", "info")
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), LogVariable) {
		t.Errorf("an unknown form: %v", err)
	}
	if _, err := NewLogger(&bytes.Buffer{}, LogJSON, "loud"); !fault.Is(err, fault.Invalid) {
		t.Errorf("an unknown level: %v", err)
	}
}

func TestBeginTrace(t *testing.T) {
	t.Parallel()
	ctx := BeginTrace(t.Context())
	parent := TraceParent(ctx)
	if len(parent) != 55 || TraceParent(BeginTrace(ctx)) != parent {
		t.Errorf("begun %q, then %q", parent, TraceParent(BeginTrace(ctx)))
	}
	if got := TraceParent(ContextWithTrace(context.Background(), parent)); got != parent {
		t.Errorf("%q read back as %q", parent, got)
	}
	if TraceParent(t.Context()) != "" {
		t.Error("a context without a trace has one")
	}
}
