package kafka

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/testkit/kafkatest"
)

// A tail, which belongs to no group, reads on after the broker was killed.
func TestTailOutlivesTheBroker(t *testing.T) { //nolint:paralleltest // one JVM at a time on a small machine
	if testing.Short() {
		t.Skip("`make kafka-full` runs it; the kernel's own tail is killed with its broker in the short form too")
	}
	b := kafkatest.Start(t, kafkatest.Config{})
	cfg := b.Bus()
	topics := []string{"a", "b", "c", "d", "tailed"} // 20 loops that fail together
	var specs []bus.TopicSpec
	for _, name := range topics {
		specs = append(specs, bus.TopicSpec{Name: name, Partitions: 4})
	}
	if err := bus.EnsureTopics(t.Context(), cfg, specs); err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- bus.Tail(ctx, cfg, topics, bus.Oldest, func(*message.Message) { n.Add(1) })
	}()
	publish(t, cfg, "tailed", 100)
	eventually(t, time.Minute, "the first messages", func() bool { return n.Load() >= 100 })
	b.Kill()
	b.MustStart(t)
	publish(t, cfg, "tailed", 100)
	eventually(t, time.Minute, "the messages after the restart", func() bool { return n.Load() >= 200 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
