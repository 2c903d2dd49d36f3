package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// row is one figure as it is printed: a distribution (P50, P99) or a single value.
type row struct {
	Name    string   `json:"name"`
	Unit    string   `json:"unit"`
	N       int      `json:"n"` // what the figure is made of: steps, messages, transactions …
	P50     *float64 `json:"p50,omitempty"`
	P99     *float64 `json:"p99,omitempty"`
	Value   *float64 `json:"value,omitempty"`
	Budget  string   `json:"budget,omitempty"` // architecture §7
	Met     *bool    `json:"met,omitempty"`    // whether the budget is kept; with Budget only
	Note    string   `json:"note,omitempty"`
	Machine machine  `json:"machine"`
}

// report prints rows as they come.
type report struct {
	out     io.Writer
	asJSON  bool
	machine machine
}

func newReport(out io.Writer, asJSON bool) *report { return &report{out: out, asJSON: asJSON} }

// section heads the rows of one benchmark.
func (r *report) section(title string) {
	if !r.asJSON {
		_, _ = fmt.Fprintf(r.out, "\n%s\n", title)
	}
}

// under is a budget that the figures must stay below; nil leaves one open.
type under struct {
	p50, p99 float64
	text     string
}

// times prints a distribution in milliseconds; limit may be the zero value.
func (r *report) times(name string, ms []float64, limit under, note string) {
	if len(ms) == 0 {
		return
	}
	s := slices.Sorted(slices.Values(ms))
	p50, p99 := percentile(s, 50), percentile(s, 99)
	out := row{Name: name, Unit: "ms", N: len(s), P50: &p50, P99: &p99, Note: note}
	if limit.text != "" {
		met := (limit.p50 == 0 || p50 <= limit.p50) && (limit.p99 == 0 || p99 <= limit.p99)
		out.Budget, out.Met = limit.text, &met
	}
	r.print(out)
}

// value prints a single figure.
func (r *report) value(name, unit string, n int, v float64, note string) {
	r.print(row{Name: name, Unit: unit, N: n, Value: &v, Note: note})
}

// judged prints a single figure beside its budget.
func (r *report) judged(name, unit string, n int, v float64, budget string, met bool, note string) {
	r.print(row{Name: name, Unit: unit, N: n, Value: &v, Budget: budget, Met: &met, Note: note})
}

func (r *report) print(x row) {
	x.Machine = r.machine
	for _, v := range []*float64{x.P50, x.P99, x.Value} {
		if v != nil {
			*v = round(*v)
		}
	}
	if r.asJSON {
		raw, err := json.Marshal(x)
		if err == nil {
			_, _ = fmt.Fprintf(r.out, "%s\n", raw) // nobody reads what a closed pipe misses
		}
		return
	}
	var figure string
	if x.Value != nil {
		figure = fmt.Sprintf("%12.6g", *x.Value)
	} else {
		figure = fmt.Sprintf("p50 %8.3f  p99 %8.3f", *x.P50, *x.P99)
	}
	_, _ = fmt.Fprintf(r.out, "  %-26s %-28s %-9s n=%-8d", x.Name, figure, x.Unit, x.N)
	if x.Budget != "" {
		verdict := "kept"
		if !*x.Met {
			verdict = "MISSED"
		}
		_, _ = fmt.Fprintf(r.out, " budget %s: %s", x.Budget, verdict)
	}
	if x.Note != "" {
		_, _ = fmt.Fprintf(r.out, "  (%s)", x.Note)
	}
	_, _ = fmt.Fprintln(r.out)
}

// percentile is the p-th percentile of sorted values, the nearest rank from above.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p/100*float64(len(sorted))))]
}

// round leaves a figure the digits that mean something.
func round(v float64) float64 {
	switch {
	case v >= 1000 || v <= -1000:
		return float64(int64(v + 0.5))
	default:
		return float64(int64(v*1000+0.5)) / 1000
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
