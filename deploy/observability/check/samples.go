package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// samples are two scrapes of one kernel, as Prometheus would keep them.
type samples struct {
	parser parser.Parser
	series map[string]*promql.Series // by its labels
	end    time.Time
}

func newSamples() *samples {
	return &samples{parser: parser.NewParser(parser.Options{}), series: map[string]*promql.Series{}}
}

func (s *samples) len() int { return len(s.series) }

// add takes a page in Prometheus' text format, with the labels that prometheus.yaml puts on.
func (s *samples) add(text string, at time.Time) error {
	for line := range strings.Lines(text + "up 1\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		cut := strings.LastIndexByte(line, ' ')
		metric, err := s.parser.ParseMetric(line[:max(cut, 0)])
		if err != nil {
			return fmt.Errorf("cannot read %q: %w", line, err)
		}
		value, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			return err
		}
		b := labels.NewBuilder(metric)
		metric = b.Set("job", "agentos").Set("program", "up").Set("instance", "here").Labels()
		one := s.series[metric.String()]
		if one == nil {
			one = &promql.Series{Metric: metric}
			s.series[metric.String()] = one
		}
		one.Floats = append(one.Floats, promql.FPoint{T: at.UnixMilli(), F: value})
	}
	return nil
}

// Querier implements storage.Queryable.
func (s *samples) Querier(int64, int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		set := &set{at: -1}
		for _, key := range slices.Sorted(maps.Keys(s.series)) {
			one := s.series[key]
			if matches(one.Metric, matchers) {
				set.series = append(set.series, promql.NewStorageSeries(*one))
			}
		}
		return set
	}}, nil
}

func matches(metric labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(metric.Get(m.Name)) {
			return false
		}
	}
	return true
}

// set implements storage.SeriesSet.
type set struct {
	series []storage.Series
	at     int
}

func (s *set) Next() bool                        { s.at++; return s.at < len(s.series) }
func (s *set) At() storage.Series                { return s.series[s.at] }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }

// checkPanels wants every panel to show something, unless nothing of its kind has happened.
func (s *samples) checkPanels(ctx context.Context, all []expression) error {
	var errs []error
	for _, e := range all {
		idle, err := s.checkNames(e)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		got, err := s.evaluate(ctx, e)
		switch {
		case err != nil:
			errs = append(errs, err)
		case len(got) == 0 && !idle:
			errs = append(errs, fmt.Errorf("%s is empty: %s", e.where, e.text))
		}
	}
	return errors.Join(errs...)
}

// checkAlerts wants every alert to be quiet on a kernel at peace.
func (s *samples) checkAlerts(ctx context.Context, all []expression) error {
	var errs []error
	for _, e := range all {
		_, err := s.checkNames(e)
		if err == nil {
			var got promql.Vector
			if got, err = s.evaluate(ctx, e); err == nil && len(got) > 0 {
				err = fmt.Errorf("%s fires on a kernel at peace: %s", e.where, got)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *samples) evaluate(ctx context.Context, e expression) (promql.Vector, error) {
	engine := promql.NewEngine(promql.EngineOpts{
		Logger: slog.New(slog.DiscardHandler), MaxSamples: 1_000_000, Timeout: 10 * time.Second, Parser: s.parser,
	})
	defer func() { _ = engine.Close() }() // it holds nothing
	q, err := engine.NewInstantQuery(ctx, s, nil, e.text, s.end)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.where, err)
	}
	defer q.Close()
	got, err := q.Exec(ctx).Vector()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.where, err)
	}
	kept := slices.Clone(got)
	return slices.DeleteFunc(kept, func(p promql.Sample) bool { return math.IsNaN(p.F) }), nil
}

// checkNames wants every metric to be exported, or to be declared and without a series as long as nothing of its
// kind happens (idle), and its labels to be there.
func (s *samples) checkNames(e expression) (idle bool, err error) {
	expr, err := s.parser.ParseExpr(e.text)
	if err != nil {
		return false, fmt.Errorf("%s: %w", e.where, err)
	}
	var errs []error
	known := map[string]bool{} // labels of all metrics of the expression
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		v, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		own, exported := s.labelsOf(v.Name)
		if !exported {
			idle = true
			if own = declared(v.Name); own == nil {
				errs = append(errs, fmt.Errorf("%s: the kernel has no metric %q", e.where, v.Name))
			}
		}
		maps.Copy(known, own)
		for _, m := range v.LabelMatchers {
			if m.Name != labels.MetricName && !own[m.Name] {
				errs = append(errs, fmt.Errorf("%s: %s has no label %q", e.where, v.Name, m.Name))
			}
			if m.Name == "event" {
				errs = append(errs, checkKinds(e, m))
			}
		}
		return nil
	})
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			for _, l := range a.Grouping {
				if !known[l] {
					errs = append(errs, fmt.Errorf("%s: groups by %q, which nothing in it has", e.where, l))
				}
			}
		}
		return nil
	})
	return idle, errors.Join(errs...)
}

func (s *samples) labelsOf(metric string) (map[string]bool, bool) {
	out := map[string]bool{}
	for _, one := range s.series {
		if one.Metric.Get(labels.MetricName) == metric {
			one.Metric.Range(func(l labels.Label) { out[l.Name] = true })
		}
	}
	return out, len(out) > 0
}

// declared are the labels of a metric in METRICS.md; nil when it is not there.
func declared(metric string) map[string]bool {
	table, err := os.ReadFile("../../../libs/telemetry/METRICS.md")
	if err != nil {
		return nil
	}
	row := regexp.MustCompile("(?m)^\\| `" + metric + "` \\| \\w+ \\| (.*?) \\|").FindStringSubmatch(string(table))
	if row == nil {
		return nil
	}
	out := map[string]bool{}
	for l := range strings.SplitSeq(row[1], ",") {
		out[strings.Trim(l, " `")] = true
	}
	return out
}

// checkKinds wants a matcher of events to name kinds of the catalogue, each alternative one.
func checkKinds(e expression, m *labels.Matcher) error {
	catalogue, err := os.ReadFile("../../../events/CATALOG.md")
	if err != nil {
		return err
	}
	names := []string{m.Value}
	if head, list, ok := strings.Cut(m.Value, "("); ok {
		names = nil
		for end := range strings.SplitSeq(strings.TrimSuffix(list, ")"), "|") {
			names = append(names, head+end)
		}
	}
	for _, n := range names {
		if !strings.Contains(string(catalogue), "`"+n+"`") && !strings.Contains(string(catalogue), "## "+n) {
			return fmt.Errorf("%s: no event is of the kind %q", e.where, n)
		}
	}
	return nil
}
