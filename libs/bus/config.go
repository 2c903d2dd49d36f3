package bus

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/segmentio/kafka-go/sasl"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// Config says how to reach the brokers and how much to take at once. The zero value of every field
// but Brokers stands for its default.
type Config struct {
	// Brokers are the addresses (host:port) to find the cluster by. At least one.
	Brokers []string

	// ClientID is the name shown in the broker's logs. Default "agentos".
	ClientID string

	// TLS encrypts every connection. Default nil: plain TCP.
	TLS *tls.Config

	// SASL authenticates every connection. Default nil: none.
	SASL sasl.Mechanism

	// SessionTimeout is how long the group waits for a lost member. Default 6 s, the least Kafka
	// allows; an embedded broker may allow less.
	SessionTimeout time.Duration

	// RebalanceTimeout is how long the group waits for its members to join again. A running Handle
	// gets half of it to finish when its shard moves. Default 3 s.
	RebalanceTimeout time.Duration

	// HeartbeatInterval is the time between two signs of life, and so the time after which a
	// member hears of a rebalance. At most a third of SessionTimeout. Default 500 ms, or that.
	HeartbeatInterval time.Duration

	// JoinBackoff is the pause after a failed join. Default 200 ms.
	JoinBackoff time.Duration

	// MaxWait is how long an idle poll stays at the broker. It delays nothing: a poll ends at once
	// with its context. Default 1 s.
	MaxWait time.Duration

	// GraceTime is how long a running Handle, or an un-acked message, may go on after the end of
	// Run or a Close before its context is canceled. Default 10 s.
	GraceTime time.Duration

	// Window is the most messages in one batch. Twice as many are read ahead per topic partition.
	// Default 256.
	Window int

	// FetchBytes is the size of one poll's answer, 64 KiB to 4 MiB. Default 1 MiB.
	FetchBytes int

	// BatchBytes is the size of one produce request per partition, kept below the broker's
	// message.max.bytes. A larger message travels alone. Default 900 KiB.
	BatchBytes int

	// CommitInterval is the time between two offset commits. Default 250 ms.
	CommitInterval time.Duration

	// RequestTimeout bounds one round trip, polls excepted. Default 10 s.
	RequestTimeout time.Duration

	// RetryTime bounds a publish, a ping and EnsureTopics with all their retries. Default 15 s.
	RetryTime time.Duration

	// NackDelay is the pause before a Subscriber sends a nacked message again. Default 50 ms.
	NackDelay time.Duration

	// StallTimeout is how long a poll loop may lag, or go without an answer, before it is made
	// anew. What fails for a third of it is logged as a warning. Default 30 s.
	StallTimeout time.Duration

	// Partitions is the count SubscribeInitialize creates a missing topic with. Default 4.
	Partitions int

	// Replication is the replication factor of created topics. Default -1: the broker's default.
	Replication int

	// OnGap, if set, is told of messages that were deleted before they were read. It runs on a
	// fetch loop and must return soon.
	OnGap func(Gap)

	// OnReady, if set, is called once by Tail when all its start positions are known.
	OnReady func()

	// Logger takes what goes wrong and is retried. Default: nothing is logged.
	Logger *slog.Logger
}

// Gap is a range of offsets that could not be read because the broker no longer has them.
type Gap struct {
	Topic     string
	Partition int
	From      int64 // the offset asked for
	To        int64 // the offset reading goes on from; below From if the broker lost its tail
}

// WithDefaults returns a copy in which every zero field holds its default.
func (c Config) WithDefaults() Config {
	c.Brokers = append([]string(nil), c.Brokers...)
	setDefault(&c.ClientID, "agentos")
	setDefault(&c.SessionTimeout, 6*time.Second)
	setDefault(&c.RebalanceTimeout, 3*time.Second)
	setDefault(&c.HeartbeatInterval, min(500*time.Millisecond, c.SessionTimeout/3))
	setDefault(&c.JoinBackoff, 200*time.Millisecond)
	setDefault(&c.MaxWait, time.Second)
	setDefault(&c.GraceTime, 10*time.Second)
	setDefault(&c.Window, 256)
	setDefault(&c.FetchBytes, 1<<20)
	setDefault(&c.BatchBytes, 900<<10)
	setDefault(&c.CommitInterval, 250*time.Millisecond)
	setDefault(&c.RequestTimeout, 10*time.Second)
	setDefault(&c.RetryTime, 15*time.Second)
	setDefault(&c.NackDelay, 50*time.Millisecond)
	setDefault(&c.StallTimeout, 30*time.Second)
	setDefault(&c.Partitions, 4)
	setDefault(&c.Replication, -1)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// patience is how long something may fail before a person should hear of it: a cluster that starts, moves
// its leaders or comes back says no to all its readers for some seconds.
func (c Config) patience() time.Duration { return c.StallTimeout / 3 }

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate names every bad field of a Config that has its defaults.
func (c Config) validate(op string) error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("field Brokers must name at least one host:port"))
	}
	for name, d := range map[string]time.Duration{
		"SessionTimeout": c.SessionTimeout, "RebalanceTimeout": c.RebalanceTimeout,
		"HeartbeatInterval": c.HeartbeatInterval, "JoinBackoff": c.JoinBackoff, "MaxWait": c.MaxWait,
		"GraceTime": c.GraceTime, "CommitInterval": c.CommitInterval, "RequestTimeout": c.RequestTimeout,
		"RetryTime": c.RetryTime, "NackDelay": c.NackDelay, "StallTimeout": c.StallTimeout,
	} {
		// Kafka carries times as 32-bit milliseconds, so a smaller one would turn into 0.
		if d < time.Millisecond || d > time.Hour {
			errs = append(errs, fmt.Errorf("field %s must be between 1ms and 1h, not %v", name, d))
		}
	}
	if c.HeartbeatInterval > c.SessionTimeout/3 {
		errs = append(errs, fmt.Errorf("field HeartbeatInterval (%v) must be at most a third of SessionTimeout (%v)",
			c.HeartbeatInterval, c.SessionTimeout))
	}
	errs = append(errs,
		inRange("Window", c.Window, 1, 1<<16),
		inRange("FetchBytes", c.FetchBytes, 64<<10, 4<<20),
		inRange("BatchBytes", c.BatchBytes, 1<<10, 64<<20),
		inRange("Partitions", c.Partitions, 1, 10_000))
	if c.Replication != -1 && c.Replication < 1 {
		errs = append(errs, fmt.Errorf("field Replication must be -1 or positive, not %d", c.Replication))
	}
	if err := errors.Join(errs...); err != nil {
		return fault.Wrap(fault.Invalid, op, "bad bus configuration", err)
	}
	return nil
}

func inRange(name string, v, low, high int) error {
	if v < low || v > high {
		return fmt.Errorf("field %s must be between %d and %d, not %d", name, low, high, v)
	}
	return nil
}
