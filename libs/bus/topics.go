package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// TopicSpec is a topic to be made.
type TopicSpec struct {
	Name           string
	Partitions     int           // at least 1
	Retention      time.Duration // how long messages are kept; 0: the broker's default
	RetentionBytes int64         // how many bytes are kept per partition; 0: the broker's default
}

// EnsureTopics creates the topics that are missing and waits until every partition has a leader. It
// may be called by many processes at once and leaves existing topics as they are. An existing topic
// with another partition count is fault.Invalid, since keys would move to other shards. It retries
// for Config.RetryTime, so it may be called before the broker is up, and then is fault.Unavailable.
func EnsureTopics(ctx context.Context, cfg Config, topics []TopicSpec) error {
	const op = "bus.ensure_topics"
	cfg = cfg.WithDefaults()
	if err := errors.Join(cfg.validate(op), validateTopics(op, topics)); err != nil {
		return err
	}
	l := newLink(cfg)
	defer l.close()
	counts, err := makeTopics(ctx, cfg, l, topics)
	if err != nil {
		return err
	}
	var bad []error
	for _, t := range topics {
		if n := counts[t.Name]; n != t.Partitions {
			bad = append(bad, fault.Newf(fault.Invalid, op, "topic %s has %d partitions, but %d are asked for",
				t.Name, n, t.Partitions).WithFix("set "+EnvPartitions+" to the topic's count, or rebuild the bus"))
		}
	}
	return errors.Join(bad...)
}

// Nodes is how many brokers the cluster has now. It retries for Config.RetryTime.
//
// Errors: fault.Invalid, fault.Denied, fault.Unavailable.
func Nodes(ctx context.Context, cfg Config) (n int, err error) {
	const op = "bus.nodes"
	cfg = cfg.WithDefaults()
	if err := cfg.validate(op); err != nil {
		return 0, err
	}
	l := newLink(cfg)
	defer l.close()
	ctx, cancel := context.WithTimeout(ctx, cfg.RetryTime)
	defer cancel()
	err = retry(ctx, op, "no broker answers", l, func(ctx context.Context) error {
		res, err := l.client.Metadata(ctx, &kafka.MetadataRequest{})
		if err == nil {
			n = len(res.Brokers)
		}
		return err
	})
	return n, err
}

func validateTopics(op string, topics []TopicSpec) error {
	for _, t := range topics {
		if t.Name == "" || t.Partitions < 1 || t.Retention < 0 || t.RetentionBytes < 0 {
			return fault.Newf(fault.Invalid, op, "bad topic spec: name %q, %d partitions, retention %v, %d bytes",
				t.Name, t.Partitions, t.Retention, t.RetentionBytes)
		}
	}
	return nil
}

// makeTopics creates what is missing and returns the partition counts of all.
func makeTopics(ctx context.Context, cfg Config, l *link, topics []TopicSpec) (map[string]int, error) {
	const op = "bus.ensure_topics"
	ctx, cancel := context.WithTimeout(ctx, cfg.RetryTime)
	defer cancel()
	err := retry(ctx, op, "cannot create the topics", l, func(ctx context.Context) error {
		return createTopics(ctx, cfg, l, topics)
	})
	if err != nil {
		return nil, err
	}
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	var counts map[string]int
	err = retry(ctx, op, "the topics have no leaders yet", l, func(ctx context.Context) (err error) {
		counts, err = partitionCounts(ctx, l, names)
		return err
	})
	return counts, err
}

func createTopics(ctx context.Context, cfg Config, l *link, topics []TopicSpec) error {
	req := &kafka.CreateTopicsRequest{}
	for _, t := range topics {
		req.Topics = append(req.Topics, kafka.TopicConfig{
			Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: cfg.Replication,
			ConfigEntries: retentionEntries(t),
		})
	}
	res, err := l.client.CreateTopics(ctx, req)
	if err != nil {
		return err
	}
	var errs []error
	for name, err := range res.Errors {
		if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
			errs = append(errs, fmt.Errorf("topic %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func retentionEntries(t TopicSpec) []kafka.ConfigEntry {
	var entries []kafka.ConfigEntry
	if t.Retention > 0 {
		entries = append(entries, kafka.ConfigEntry{
			ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(t.Retention.Milliseconds(), 10),
		})
	}
	if t.RetentionBytes > 0 {
		entries = append(entries, kafka.ConfigEntry{
			ConfigName: "retention.bytes", ConfigValue: strconv.FormatInt(t.RetentionBytes, 10),
		})
	}
	return entries
}

// partitionCounts gives the partition count of each topic, or an error if one is missing or has a
// partition without leader.
func partitionCounts(ctx context.Context, l *link, names []string) (map[string]int, error) {
	res, err := l.client.Metadata(ctx, &kafka.MetadataRequest{Topics: names})
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int, len(names))
	for _, t := range res.Topics {
		if t.Error != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Name, t.Error)
		}
		for _, p := range t.Partitions {
			if p.Error != nil {
				return nil, fmt.Errorf("topic %s partition %d: %w", t.Name, p.ID, p.Error)
			}
			if p.Leader.Host == "" {
				return nil, fmt.Errorf("topic %s partition %d: %w", t.Name, p.ID, kafka.LeaderNotAvailable)
			}
		}
		counts[t.Name] = len(t.Partitions)
	}
	for _, name := range names {
		if counts[name] == 0 {
			return nil, fmt.Errorf("topic %s: %w", name, kafka.UnknownTopicOrPartition)
		}
	}
	return counts, nil
}

// awaitTopics waits, as long as ctx lives, until all topics exist.
func awaitTopics(ctx context.Context, cfg Config, l *link, names []string) (map[string]int, error) {
	pause := backoff{first: 50 * time.Millisecond, last: time.Second}
	var j judge
	since, loud := time.Now(), trouble{patience: cfg.patience()}
	for {
		counts, err := partitionCounts(ctx, l, names)
		if err == nil {
			return counts, nil
		}
		if kind, final := j.final(err); ctx.Err() == nil && final {
			return nil, fault.Wrap(kind, "bus.subscribe", "cannot read the topics", err).WithFix(fixOf(err))
		}
		if ctx.Err() == nil {
			cfg.Logger.Log(ctx, loud.level(since), "waiting for topics", "topics", names, "since", since, "error", err,
				"fix", "check that Kafka runs and "+EnvBrokers+" is right, and that `agentos migrate` has run")
		}
		l.refresh()
		if !pause.wait(ctx.Done()) {
			return nil, ctx.Err()
		}
	}
}

// sameCount checks that all topics are cut into the same shards.
func sameCount(counts map[string]int) error {
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if counts[name] != counts[names[0]] {
			return fault.Newf(fault.Invalid, "bus.consume", "topic %s has %d partitions, but %s has %d; a shard needs the same count on each",
				names[0], counts[names[0]], name, counts[name])
		}
	}
	return nil
}
