package service

import "github.com/prometheus/client_golang/prometheus"

// metrics are the harness's figures, one set per service, told apart by the label "service".
type metrics struct {
	duplicates, gaps, overtaken, swept, parked, foreign, unparked, notified prometheus.Counter
	appended, published                                                     prometheus.Counter
	retries                                                                 *prometheus.CounterVec
	commit, batch                                                           prometheus.Histogram
	backlog, parkedDepth, watermarkAge                                      prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, service string) *metrics {
	labels := prometheus.Labels{"service": service}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "agentos", Name: name, Help: help, ConstLabels: labels,
		})
		register(reg, c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "agentos", Name: name, Help: help, ConstLabels: labels,
		})
		register(reg, g)
		return g
	}
	m := &metrics{
		duplicates:   counter("duplicates_total", "records dropped because their version was handled before"),
		gaps:         counter("gaps_total", "holes in a stream filled from the event store"),
		overtaken:    counter("overtaken_total", "inputs that came before what they rest on"),
		swept:        counter("swept_total", "streams whose last events were found by the sweeper"),
		parked:       counter("parked_total", "records put aside because they could not be handled"),
		unparked:     counter("unparked_total", "parked records handled again or dropped"),
		notified:     counter("relay_notified_total", "wakes of the relay by another replica's commit"),
		backlog:      gauge("relay_backlog", "events committed and not yet acknowledged by the broker, of the shards this replica publishes"),
		parkedDepth:  gauge("parked_depth", "records put aside, all streams"),
		watermarkAge: gauge("watermark_age_seconds", "how long the safe position of the event store has been held back by an open transaction"),
		foreign:      counter("foreign_messages_total", "messages without an envelope"),
		appended:     counter("events_appended_total", "events committed"),
		published:    counter("events_published_total", "events acknowledged by the broker"),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "agentos", Name: "batch_retries_total", Help: "batches handled again, by kind of fault", ConstLabels: labels,
		}, []string{"kind"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "agentos", Name: "commit_seconds", Help: "time of one commit", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "agentos", Name: "batch_streams", Help: "streams advanced by one commit", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
	}
	register(reg, m.retries)
	register(reg, m.commit)
	register(reg, m.batch)
	return m
}

// register adds a collector; a second one of the same name, as in a restart within a test, is ignored.
func register(reg prometheus.Registerer, c prometheus.Collector) {
	if reg != nil {
		_ = reg.Register(c)
	}
}
