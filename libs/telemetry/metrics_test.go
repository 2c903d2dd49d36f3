package telemetry

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestMetricsAreWellNamed(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile(`^agentos_[a-z]+(_[a-z]+)*$`)
	seen := map[string]bool{}
	for _, m := range Metrics() {
		if seen[m.Name] {
			t.Errorf("%s is declared twice", m.Name)
		}
		seen[m.Name] = true
		if !name.MatchString(m.Name) || m.Help == "" {
			t.Errorf("%q: a metric needs a name agentos_… and a help text", m.Name)
		}
		if (m.Type == Counter) != strings.HasSuffix(m.Name, "_total") {
			t.Errorf("%s: counters, and they alone, end in _total", m.Name)
		}
		if (m.Type == Histogram) != (len(m.Buckets) > 0) {
			t.Errorf("%s: histograms, and they alone, have buckets", m.Name)
		}
	}
}

func TestTheTableIsUpToDate(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(raw) != Document() {
		t.Error("METRICS.md differs from metrics.go: run make generate")
	}
}
