package service

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/telemetry"
)

// sampleEvery is how often the figures that cost a query are taken.
const sampleEvery = 3 * time.Second

// sample takes the figures that cost a query: what the relay has before it, what is parked, how far the
// safe position is behind.
func (r *Runtime) sample(ctx context.Context) error {
	var mark eventstore.Watermark
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		if err := r.sampleOnce(ctx, &mark); err != nil && ctx.Err() == nil {
			r.log.DebugContext(ctx, "figures not taken", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (r *Runtime) sampleOnce(ctx context.Context, mark *eventstore.Watermark) error {
	var held []int32
	for i := range r.shards {
		if r.relay.holds(i) {
			held = append(held, int32(i))
		}
	}
	var backlog, parked int64
	err := r.deps.DB.QueryRow(ctx, `SELECT (SELECT count(*) FROM eventstore.outbox WHERE family = $1 AND shard = ANY($2)),
		(SELECT count(*) FROM parked WHERE state <> 'dropped')`, string(r.def.Family), held).Scan(&backlog, &parked)
	if err != nil {
		return eventstore.Classify("service.sample", err)
	}
	r.metrics.backlog.Set(float64(backlog))
	r.metrics.parkedDepth.Set(float64(parked))
	if _, err := mark.Advance(ctx, r.deps.DB); err != nil {
		return err
	}
	r.metrics.watermarkAge.Set(mark.Age().Seconds())
	return nil
}

// lagCollector reads the consumer's own count of what lies before it when somebody looks.
type lagCollector struct {
	rt                   *Runtime
	lag, gaps, restarted *prometheus.Desc
}

func newLagCollector(rt *Runtime) *lagCollector {
	labels := serviceLabels(rt.def.Name)
	return &lagCollector{
		rt: rt, lag: telemetry.GroupLag().Desc(labels), gaps: telemetry.GroupOffsetsLost().Desc(labels),
		restarted: telemetry.GroupRestarts().Desc(labels),
	}
}

// Describe implements prometheus.Collector.
func (c *lagCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.lag
	ch <- c.gaps
	ch <- c.restarted
}

// Collect implements prometheus.Collector.
func (c *lagCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.rt.consumer.Stats()
	for _, s := range st.Shards {
		var lag int64
		for _, t := range s.Topics {
			lag += t.Lag
		}
		ch <- prometheus.MustNewConstMetric(c.lag, prometheus.GaugeValue, float64(lag), strconv.Itoa(s.ID))
	}
	ch <- prometheus.MustNewConstMetric(c.gaps, prometheus.CounterValue, float64(st.Gaps))
	ch <- prometheus.MustNewConstMetric(c.restarted, prometheus.CounterValue, float64(st.Restarts))
}
