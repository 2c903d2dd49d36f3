package telemetry

import "github.com/prometheus/client_golang/prometheus"

//go:generate go run ./internal/document

// Metrics are all metrics of the kernel. A new one is declared here and nowhere else.
func Metrics() []Metric {
	return []Metric{
		HTTPRequest(),
		EventsAppended(), EventsPublished(), CommitSeconds(), BatchStreams(), BatchRetries(),
		Duplicates(), Gaps(), Overtaken(), Swept(), ForeignMessages(), Snapshots(),
		Parked(), Unparked(), ParkedDepth(), Erased(),
		RelayBacklog(), RelayNotified(), WatermarkAge(),
		Processes(), StepSeconds(), CallSeconds(),
		GroupLag(), GroupOffsetsLost(), GroupRestarts(),
	}
}

// The labels.
const (
	LabelService = "service" // name of the service, as in `agentos serve SERVICE`
	LabelShard   = "shard"   // number of the partition
	LabelKind    = "kind"    // kind of fault
	LabelEvent   = "event"   // kind of event, "agent.spawned"
	LabelState   = "state"   // of processes: running, ready
	LabelOutcome = "outcome" // what became of a snapshot: written, used, ignored
)

func perService(name string, t Type, help string, more ...string) Metric {
	return Metric{Name: name, Type: t, Help: help, Labels: append([]string{LabelService}, more...)}
}

// HTTPRequest is the time of HTTP requests.
func HTTPRequest() Metric {
	return Metric{
		Name: "agentos_http_request_seconds", Type: Histogram, Labels: []string{"method", "route", "status"},
		Help: "time of HTTP requests; streams of events are not in it", Buckets: prometheus.DefBuckets,
	}
}

// EventsAppended counts what a service has committed.
func EventsAppended() Metric {
	return perService("agentos_events_appended_total", Counter, "events committed, by kind of event: steps, calls and how they end", LabelEvent)
}

// EventsPublished counts what the relay has brought to the broker.
func EventsPublished() Metric {
	return perService("agentos_events_published_total", Counter, "events acknowledged by the broker")
}

// CommitSeconds is the time of commits.
func CommitSeconds() Metric {
	m := perService("agentos_commit_seconds", Histogram, "time of one commit")
	m.Buckets = prometheus.ExponentialBuckets(0.0001, 2, 16)
	return m
}

// BatchStreams is the size of batches.
func BatchStreams() Metric {
	m := perService("agentos_batch_streams", Histogram, "streams advanced by one commit")
	m.Buckets = prometheus.ExponentialBuckets(1, 2, 9)
	return m
}

// BatchRetries counts batches that had to be handled again.
func BatchRetries() Metric {
	return perService("agentos_batch_retries_total", Counter, "batches handled again, by kind of fault", LabelKind)
}

// Snapshots counts states of long streams that were kept to be loaded from.
func Snapshots() Metric {
	return perService("agentos_snapshots_total", Counter, "snapshots of streams: written, used at a load, ignored because they did not fit", LabelOutcome)
}

// Duplicates counts what was delivered twice.
func Duplicates() Metric {
	return perService("agentos_duplicates_total", Counter, "records dropped because their version was handled before")
}

// Gaps counts what the broker had not delivered.
func Gaps() Metric {
	return perService("agentos_gaps_total", Counter, "holes in a stream filled from the event store")
}

// Overtaken counts what Kafka delivered too early.
func Overtaken() Metric {
	return perService("agentos_overtaken_total", Counter, "inputs that came before what they rest on")
}

// Swept counts what only the sweeper found.
func Swept() Metric {
	return perService("agentos_swept_total", Counter, "streams whose last events were found by the sweeper")
}

// ForeignMessages counts messages of somebody else.
func ForeignMessages() Metric {
	return perService("agentos_foreign_messages_total", Counter, "messages without an envelope")
}

// Parked counts records put aside.
func Parked() Metric {
	return perService("agentos_parked_total", Counter, "records put aside because they could not be handled")
}

// Unparked counts records taken back.
func Unparked() Metric {
	return perService("agentos_unparked_total", Counter, "parked records handled again or dropped")
}

// ParkedDepth is what is put aside now.
func ParkedDepth() Metric {
	return perService("agentos_parked_depth", Gauge, "records put aside now, all streams")
}

// Erased counts records nobody can read any more.
func Erased() Metric {
	return perService("agentos_erased_total", Counter, "records skipped because their tenant's data was erased")
}

// RelayBacklog is what the broker does not have yet.
func RelayBacklog() Metric {
	return perService("agentos_relay_backlog", Gauge,
		"events committed and not yet acknowledged by the broker, of the shards this replica publishes")
}

// RelayNotified counts wakes across replicas.
func RelayNotified() Metric {
	return perService("agentos_relay_notified_total", Counter, "wakes of the relay by another replica's commit")
}

// WatermarkAge is how far readers of the event store are held back.
func WatermarkAge() Metric {
	return perService("agentos_watermark_age_seconds", Gauge,
		"how long the safe position of the event store has been held back by an open transaction")
}

// GroupLag is what a consumer has before it.
func GroupLag() Metric {
	return perService("agentos_group_lag", Gauge, "messages at the broker not handled yet, per shard", LabelShard)
}

// GroupOffsetsLost counts what retention or a broken broker took.
func GroupOffsetsLost() Metric {
	return perService("agentos_group_offsets_lost_total", Counter, "offsets the broker no longer had")
}

// GroupRestarts counts what the watchdog did.
func GroupRestarts() Metric {
	return perService("agentos_group_restarts_total", Counter, "fetch loops started anew because they stood still")
}

// Processes is how many processes take part in the scheduling of a replica.
func Processes() Metric {
	return perService("agentos_processes", Gauge, "processes that hold a slot (running) and that wait for one (ready), on this replica", LabelState)
}

// StepSeconds is the time of whole steps.
func StepSeconds() Metric {
	m := perService("agentos_step_seconds", Histogram, "time of one step, from the commit of its grant to that of its end")
	m.Buckets = prometheus.ExponentialBuckets(0.001, 2, 18)
	return m
}

// CallSeconds is the time of model and tool calls.
func CallSeconds() Metric {
	m := perService("agentos_call_seconds", Histogram, "time of the calls that finished: of models (service llm-gateway), of tools (service tools)")
	m.Buckets = prometheus.ExponentialBuckets(0.0001, 2, 21)
	return m
}
