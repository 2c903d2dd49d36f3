package bus_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/agentos-kernel/agentos/libs/bus"
)

const benchPartitions = 8

// events makes n messages with the headers an event of the kernel has.
func events(n, size int) []*message.Message {
	msgs := make([]*message.Message, n)
	for i := range msgs {
		id := watermill.NewUUID()
		m := message.NewMessage(id, make([]byte, size))
		m.Metadata = message.Metadata{bus.KeyMetadata: id, "ce_id": id}
		msgs[i] = m
	}
	return msgs
}

// funcHandler is a Handler made of one function.
type funcHandler func(ctx context.Context, shard int, msgs []*message.Message) error

func (funcHandler) Assigned(context.Context, []int) error { return nil }
func (funcHandler) Revoked([]int)                         {}
func (f funcHandler) Handle(ctx context.Context, shard int, msgs []*message.Message) error {
	return f(ctx, shard, msgs)
}

// goConsume runs a consumer until the returned function is called, which waits for its end.
func goConsume(tb testing.TB, cfg bus.Config, group string, topics []string, h bus.Handler) (*bus.Consumer, func()) {
	tb.Helper()
	c, err := bus.NewConsumer(cfg, group, topics, h)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	var once atomic.Bool
	stop := func() {
		if once.Swap(true) {
			return
		}
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	}
	tb.Cleanup(stop)
	return c, stop
}

func newPublisher(tb testing.TB, cfg bus.Config) *bus.Publisher {
	tb.Helper()
	p, err := bus.NewPublisher(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

func publish(tb testing.TB, p *bus.Publisher, topic string, msgs ...*message.Message) {
	tb.Helper()
	if err := p.Publish(topic, msgs...); err != nil {
		tb.Fatal(err)
	}
}

func perSecond(b *testing.B, start time.Time, n int) {
	b.Helper()
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "msgs/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkPublish writes b.N messages in calls of a size, from two goroutines.
func BenchmarkPublish(b *testing.B) {
	for _, call := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("call=%d", call), func(b *testing.B) {
			cfg := startBroker(b)
			ensure(b, cfg, benchPartitions, "bench")
			p := newPublisher(b, cfg)
			publish(b, p, "bench", events(call, 256)...)
			b.ResetTimer()
			start := time.Now()
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan struct{})
			workers := 2
			for range workers {
				go func() {
					msgs := events(call, 256)
					for left.Add(int64(-call)) > int64(-call) {
						if err := p.Publish("bench", msgs...); err != nil {
							b.Error(err)
						}
					}
					done <- struct{}{}
				}()
			}
			for range workers {
				<-done
			}
			perSecond(b, start, b.N)
		})
	}
}

// fill publishes n messages.
func fill(b *testing.B, cfg bus.Config, n, size int) {
	b.Helper()
	ensure(b, cfg, benchPartitions, "bench")
	p := newPublisher(b, cfg)
	msgs := events(5000, size)
	for ; n > 0; n -= len(msgs) {
		publish(b, p, "bench", msgs[:min(n, len(msgs))]...)
	}
}

// BenchmarkSubscribe reads b.N messages that are there: in batches, and one by one through the
// Watermill subscriber.
func BenchmarkSubscribe(b *testing.B) {
	for _, size := range []int{16, 256} {
		b.Run(fmt.Sprintf("consumer/%dB", size), func(b *testing.B) { benchConsumer(b, size) })
		b.Run(fmt.Sprintf("subscriber/%dB", size), func(b *testing.B) { benchSubscriber(b, size) })
	}
}

func benchConsumer(b *testing.B, size int) {
	b.Helper()
	cfg := startBroker(b)
	fill(b, cfg, b.N, size)
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	b.ResetTimer()
	start := time.Now()
	_, stop := goConsume(b, cfg, "bench", []string{"bench"}, funcHandler(func(_ context.Context, _ int, msgs []*message.Message) error {
		if left.Add(int64(-len(msgs))) == 0 {
			close(done)
		}
		return nil
	}))
	<-done
	perSecond(b, start, b.N)
	stop()
}

func benchSubscriber(b *testing.B, size int) {
	b.Helper()
	cfg := startBroker(b)
	fill(b, cfg, b.N, size)
	s, err := bus.NewSubscriber(cfg, "bench")
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	start := time.Now()
	msgs, err := s.Subscribe(context.Background(), "bench")
	if err != nil {
		b.Fatal(err)
	}
	for range b.N {
		(<-msgs).Ack()
	}
	perSecond(b, start, b.N)
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}

// BenchmarkRoundTrip publishes 200 messages per second, one by one, and measures the time from
// before the publish to the handler.
func BenchmarkRoundTrip(b *testing.B) {
	cfg := startBroker(b)
	ensure(b, cfg, 4, "bench")
	p := newPublisher(b, cfg)
	took := make(chan time.Duration, b.N+100)
	epoch := time.Now()
	goConsume(b, cfg, "bench", []string{"bench"}, funcHandler(func(_ context.Context, _ int, msgs []*message.Message) error {
		for _, m := range msgs {
			took <- time.Since(epoch) - time.Duration(binary.BigEndian.Uint64(m.Payload)) //nolint:gosec // a short time
		}
		return nil
	}))
	send := func() {
		m := events(1, 512)[0]
		binary.BigEndian.PutUint64(m.Payload, uint64(time.Since(epoch))) //nolint:gosec // a short time
		publish(b, p, "bench", m)
	}
	for range 100 {
		send()
		<-took
	}
	b.ResetTimer()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	all := make([]time.Duration, 0, b.N)
	for range b.N {
		<-tick.C
		send()
		all = append(all, <-took)
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}
