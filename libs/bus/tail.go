package bus

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// Offset is where a Tail begins.
type Offset int64

// The two ends of a topic. Their values are the protocol's.
const (
	Oldest Offset = Offset(kafka.FirstOffset)
	Newest Offset = Offset(kafka.LastOffset)
)

// Tail calls fn, one call at a time, for every message of all partitions of the topics, without a
// group, until ctx ends, and then returns nil. Messages of one partition come in order. It waits for
// brokers and topics that are not there and goes on where it was after a restart. With Newest it
// begins behind the last message there was when Config.OnReady is called.
//
// Errors: fault.Invalid, fault.Denied.
func Tail(ctx context.Context, cfg Config, topics []string, from Offset, fn func(*message.Message)) error {
	const op = "bus.tail"
	cfg = cfg.WithDefaults()
	if err := cfg.validate(op); err != nil {
		return err
	}
	if len(topics) == 0 || fn == nil || (from != Oldest && from != Newest) {
		return fault.New(fault.Invalid, op, "a tail needs at least one topic, a function, and Oldest or Newest")
	}
	l := newLink(cfg)
	defer l.close()
	counts, err := awaitTopics(ctx, cfg, l, topics)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	e := newEngine(cfg, l, "")
	e.onResolved = countDown(counts, cfg.OnReady)
	var one sync.Mutex
	e.process = func(work context.Context, _ *shard, b *batch, again bool) error {
		one.Lock()
		defer one.Unlock()
		for i, m := range b.messages(again) {
			if work.Err() != nil {
				return errStopped
			}
			fn(m)
			b.advance(i + 1)
		}
		return nil
	}
	e.runAlone(ctx, ctx, counts, int64(from))
	return nil
}

// countDown calls ready when it was called once for each partition.
func countDown(counts map[string]int, ready func()) func() {
	if ready == nil {
		return nil
	}
	var left atomic.Int64
	for _, n := range counts {
		left.Add(int64(n))
	}
	return func() {
		if left.Add(-1) == 0 {
			ready()
		}
	}
}
