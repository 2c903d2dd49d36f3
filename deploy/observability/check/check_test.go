package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// two are scrapes in which one thing has happened.
func two(t *testing.T) *samples {
	t.Helper()
	s := newSamples()
	s.end = time.Unix(1000, 0)
	for i, value := range []string{"1", "5"} {
		text := `agentos_events_appended_total{event="agent.spawned",service="scheduler"} ` + value + "\n" +
			`agentos_parked_depth{service="tools"} ` + value + "\n"
		if err := s.add(text, s.end.Add(time.Duration(i-1)*30*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]struct{ panel, alert string }{
		`sum by (event) (rate(agentos_events_appended_total{event="agent.spawned"}[1m]))`: {"", "fires on a kernel at peace"},
		`sum(rate(agentos_events_appended_total{event="agent.completed"}[1m]))`:           {"is empty", ""},
		`sum(rate(agentos_events_appended_total{event="agent.spwned"}[1m]))`:              {"no event is of the kind", "no event is of the kind"},
		`rate(agentos_events_appended_total{event=~"agent.(spawned|begun)"}[1m])`:         {"no event is of the kind", "no event is of the kind"},
		`agentos_parked_records`:                               {"has no metric", "has no metric"},
		`agentos_parked_depth{program="x"} > 0`:                {"is empty", ""},
		`agentos_parked_depth{pod="x"} > 0`:                    {"has no label", "has no label"},
		`sum by (shard) (agentos_parked_depth)`:                {"groups by", "groups by"},
		`sum by (service, kind) (agentos_batch_retries_total)`: {"", ""}, // declared, and nothing of its kind has happened
		`sum(agentos_parked_depth`:                             {"unclosed", "unclosed"},
	} {
		s, all := two(t), []expression{{"here", expr}}
		for what, got := range map[string]struct {
			err  error
			want string
		}{"panel": {s.checkPanels(t.Context(), all), want.panel}, "alert": {s.checkAlerts(t.Context(), all), want.alert}} {
			if (got.err == nil) != (got.want == "") || got.err != nil && !strings.Contains(got.err.Error(), got.want) {
				t.Errorf("%s %s: %v, want %q", what, expr, got.err, got.want)
			}
		}
	}
}

// Each file with one mistake in it.
func TestMistakesAreFound(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file, old, new, want string
		check                func(file string) error
	}{
		"a field the collector does not know":   {"otel-collector.yaml", "limit_mib", "limit_mb", "invalid keys: limit_mb", collector(t)},
		"a component that is not there":         {"otel-collector.yaml", "  batch:", "  batches:", "unknown type", collector(t)},
		"a pipeline of what is not configured":  {"otel-collector.yaml", "[otlp_grpc/jaeger]", "[otlp_grpc]", "not configured", collector(t)},
		"a field Prometheus does not know":      {"prometheus.yaml", "scrape_interval", "scrape_every", "not found", checkPrometheus},
		"a field of alerts that is not there":   {"alerts.yaml", "for: 1m", "during: 1m", "not found", alerts},
		"an alert that does not say what to do": {"alerts.yaml", "action: look at its log, and", "todo: look at its log, and", "what to do", alerts},
		"a panel that asks nothing":             {"grafana/dashboards/agentos.json", `"targets": [`, `"queries": [`, "asks nothing", dashboard},
		"a dashboard that is not JSON":          {"grafana/dashboards/agentos.json", `"uid": "agentos",`, `"uid": agentos,`, "invalid character", dashboard},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(filepath.Join(above, tc.file))
			if err != nil || !strings.Contains(string(raw), tc.old) {
				t.Fatalf("%s does not contain %q (%v)", tc.file, tc.old, err)
			}
			file := filepath.Join(t.TempDir(), filepath.Base(tc.file))
			if err := os.WriteFile(file, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := tc.check(file); err != nil {
				t.Fatalf("as it is: %v", err)
			}
			if err := os.WriteFile(file, []byte(strings.Replace(string(raw), tc.old, tc.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := tc.check(file); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func collector(t *testing.T) func(string) error {
	t.Helper()
	return func(file string) error { return checkCollector(t.Context(), file) }
}

func alerts(file string) error {
	_, err := readAlerts(file)
	return err
}

func dashboard(file string) error {
	_, err := readDashboard(file)
	return err
}
