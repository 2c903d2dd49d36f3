package service

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentos-kernel/agentos/libs/telemetry"
)

// metrics are the harness's figures, one set per service, told apart by the label "service".
type metrics struct {
	duplicates, gaps, overtaken, swept, parked, foreign, unparked, notified, erased prometheus.Counter
	published                                                                       prometheus.Counter
	appended, retries, snapshots                                                    *prometheus.CounterVec
	commit, batch, calls                                                            prometheus.Histogram
	backlog, parkedDepth, watermarkAge                                              prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, service string) *metrics {
	labels := serviceLabels(service)
	m := &metrics{
		duplicates:   telemetry.Duplicates().Counter(labels),
		gaps:         telemetry.Gaps().Counter(labels),
		overtaken:    telemetry.Overtaken().Counter(labels),
		swept:        telemetry.Swept().Counter(labels),
		parked:       telemetry.Parked().Counter(labels),
		unparked:     telemetry.Unparked().Counter(labels),
		erased:       telemetry.Erased().Counter(labels),
		notified:     telemetry.RelayNotified().Counter(labels),
		foreign:      telemetry.ForeignMessages().Counter(labels),
		appended:     telemetry.EventsAppended().CounterVec(labels),
		published:    telemetry.EventsPublished().Counter(labels),
		backlog:      telemetry.RelayBacklog().Gauge(labels),
		parkedDepth:  telemetry.ParkedDepth().Gauge(labels),
		watermarkAge: telemetry.WatermarkAge().Gauge(labels),
		retries:      telemetry.BatchRetries().CounterVec(labels),
		snapshots:    telemetry.Snapshots().CounterVec(labels),
		commit:       telemetry.CommitSeconds().Histogram(labels),
		batch:        telemetry.BatchStreams().Histogram(labels),
		calls:        telemetry.CallSeconds().Histogram(labels),
	}
	for _, outcome := range []string{snapshotWritten, snapshotUsed, snapshotIgnored} {
		m.snapshots.WithLabelValues(outcome) // shown as 0 from the start
	}
	register(reg, m.duplicates, m.gaps, m.overtaken, m.swept, m.parked, m.unparked, m.notified, m.erased, m.foreign, m.appended,
		m.published, m.backlog, m.parkedDepth, m.watermarkAge, m.retries, m.snapshots, m.commit, m.batch, m.calls)
	return m
}

// The outcomes of the snapshots' metric.
const (
	snapshotWritten = "written"
	snapshotUsed    = "used"
	snapshotIgnored = "ignored"
)

func serviceLabels(service string) prometheus.Labels {
	return prometheus.Labels{telemetry.LabelService: service}
}

// register adds collectors; a second one of the same name, as in a restart within a test, is ignored.
func register(reg prometheus.Registerer, cs ...prometheus.Collector) {
	if reg == nil {
		return
	}
	for _, c := range cs {
		_ = reg.Register(c)
	}
}
