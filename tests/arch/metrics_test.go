package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// Every metric is declared in libs/telemetry: dashboards, alerts and the table of metrics rest on it.
func TestMetricsAreDeclaredInOnePlace(t *testing.T) {
	t.Parallel()
	made := 0
	for _, f := range sources(t) {
		calls := metricCalls(f.ast)
		if f.dir == "libs/telemetry" {
			made += len(calls)
			continue
		}
		for _, call := range calls {
			t.Errorf("%s uses %s: declare the metric in libs/telemetry/metrics.go and make it from there", f.path, call)
		}
	}
	if made == 0 {
		t.Error("no metric found in libs/telemetry: the test looks in the wrong place")
	}
}

// metricCalls lists the uses of functions that give a metric its name.
func metricCalls(f *ast.File) []string {
	var out []string
	names := map[string]string{}
	for _, spec := range f.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		switch path {
		case "github.com/prometheus/client_golang/prometheus":
			names["prometheus"] = path
			if spec.Name != nil {
				names[spec.Name.Name] = path
			}
		case "github.com/prometheus/client_golang/prometheus/promauto", "expvar":
			out = append(out, path)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok || names[x.Name] == "" || !strings.HasPrefix(sel.Sel.Name, "New") {
			return true
		}
		for _, kind := range []string{"Counter", "Gauge", "Histogram", "Summary", "Untyped", "Desc"} {
			if strings.HasPrefix(sel.Sel.Name, "New"+kind) {
				out = append(out, "prometheus."+sel.Sel.Name)
			}
		}
		return true
	})
	return out
}

func TestMetricCalls(t *testing.T) {
	t.Parallel()
	src := `package x
import (
	p "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)
var a, r, c, d = p.NewCounterVec(p.CounterOpts{}, nil), p.NewRegistry(), promauto.NewCounter, p.NewDesc`
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"github.com/prometheus/client_golang/prometheus/promauto", "prometheus.NewCounterVec", "prometheus.NewDesc"}
	if got := metricCalls(f); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
