package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/errgroup"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/fault"
)

const sentAt = "sent" // header with the time of publishing, for latency

// runBus measures the Watermill publisher and subscriber, and the batching consumer the services use.
func runBus(ctx context.Context, e *env) error {
	return e.withParts(ctx, func(p *parts) (err error) {
		var topics []bus.TopicSpec
		for _, name := range []string{"bench.rate", "bench.warm", "bench.latency.200", "bench.latency.1000"} {
			topics = append(topics, bus.TopicSpec{Name: name, Partitions: partitions, Retention: time.Hour})
		}
		if err := bus.EnsureTopics(ctx, p.bus(), topics); err != nil {
			return err
		}
		pub, err := bus.NewPublisher(p.bus())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, pub.Close()) }()
		n := pick(e, 200_000, 20_000)
		if e.kafka { // a JVM is slow at first
			if _, err := publishAll(ctx, pub, "bench.warm", n/4); err != nil {
				return err
			}
		}
		rate, err := publishAll(ctx, pub, "bench.rate", n)
		if err != nil {
			return err
		}
		e.report.judged("bus.publish", "msgs/s", n, rate, "> 42,000", rate > 42_000, "2 publishers, 500 messages of 16–256 B per call, acks = all")
		if err := e.readAll(ctx, p, n); err != nil {
			return err
		}
		for _, rate := range []int{200, 1000} {
			if err := e.busLatency(ctx, p, pub, rate); err != nil {
				return err
			}
		}
		return nil
	})
}

func publishAll(ctx context.Context, pub *bus.Publisher, topic string, n int) (float64, error) {
	const call, workers = 500, 2
	began := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			rnd := rand.New(rand.NewPCG(1, uint64(w))) //nolint:gosec // sizes, not secrets
			for range n / call / workers {
				msgs := make([]*message.Message, call)
				for i := range msgs {
					msgs[i] = newMessage(rnd)
				}
				if err := pub.PublishContext(gctx, topic, msgs...); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return float64(n) / time.Since(began).Seconds(), err
}

// newMessage is a message of 16 to 256 bytes with a key out of 256.
func newMessage(rnd *rand.Rand) *message.Message {
	m := message.NewMessage(watermill.NewUUID(), make([]byte, 16+rnd.IntN(241)))
	m.Metadata = message.Metadata{bus.KeyMetadata: strconv.Itoa(rnd.IntN(256))}
	return m
}

// readAll reads the topic twice: message by message, and in batches.
func (e *env) readAll(ctx context.Context, p *parts, n int) error {
	began := time.Now()
	if err := p.subscribe(ctx, "bench.rate", "", n, func(*message.Message) {}, nil); err != nil {
		return err
	}
	rate := float64(n) / time.Since(began).Seconds()
	e.report.judged("bus.subscribe", "msgs/s", n, rate, "> 102,000", rate > 102_000, "Watermill subscriber: one un-acked message per partition")
	began = time.Now()
	if err := p.consume(ctx, "bench.rate", n); err != nil {
		return err
	}
	e.report.value("bus.consume", "msgs/s", n, float64(n)/time.Since(began).Seconds(), "batching consumer, as the services read; joining the group included")
	return nil
}

// subscribe takes n messages from a subscription. begin, if set, runs beside it and makes them.
func (p *parts) subscribe(ctx context.Context, topic, group string, n int, see func(*message.Message), begin func(ctx context.Context) error) (err error) {
	sub, err := bus.NewSubscriber(p.bus(), group)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sub.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	msgs, err := sub.Subscribe(ctx, topic)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	if begin != nil {
		g.Go(func() error { return begin(gctx) })
	}
	g.Go(func() error {
		for got := range n {
			select {
			case m, ok := <-msgs:
				if !ok {
					return fault.Newf(fault.Internal, "bench", "the subscription ended after %d of %d messages", got, n)
				}
				see(m)
				m.Ack()
			case <-gctx.Done():
				return fault.Wrap(fault.Internal, "bench", fmt.Sprintf("%d of %d messages came", got, n), gctx.Err())
			}
		}
		return nil
	})
	return g.Wait()
}

// counting is a bus.Handler that counts.
type counting struct {
	n    atomic.Int64
	want int64
	done context.CancelFunc
}

func (*counting) Assigned(context.Context, []int) error { return nil }
func (*counting) Revoked([]int)                         {}
func (c *counting) Handle(_ context.Context, _ int, msgs []*message.Message) error {
	if c.n.Add(int64(len(msgs))) >= c.want {
		c.done()
	}
	return nil
}

func (p *parts) consume(ctx context.Context, topic string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	h := &counting{want: int64(n), done: cancel}
	c, err := bus.NewConsumer(p.bus(), "bench", []string{topic}, h)
	if err != nil {
		return err
	}
	if err := c.Run(ctx); err != nil {
		return err
	}
	if got := h.n.Load(); got < int64(n) {
		return fault.Newf(fault.Internal, "bench", "%d of %d messages came within a minute", got, n)
	}
	return nil
}

// busLatency sends single messages at a steady rate and measures until the handler has them.
func (e *env) busLatency(ctx context.Context, p *parts, pub *bus.Publisher, rate int) error {
	topic := fmt.Sprintf("bench.latency.%d", rate)
	n, warm := pick(e, 10*rate, 300), 100
	ms := make([]float64, 0, n)
	see := func(m *message.Message) {
		at, err := strconv.ParseInt(m.Metadata[sentAt], 10, 64)
		if err == nil {
			ms = append(ms, millis(time.Duration(time.Now().UnixNano()-at)))
		}
	}
	send := func(ctx context.Context) error {
		rnd := rand.New(rand.NewPCG(2, 2)) //nolint:gosec // sizes, not secrets
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for range n + warm {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			m := newMessage(rnd)
			m.Metadata[sentAt] = strconv.FormatInt(time.Now().UnixNano(), 10)
			if err := pub.PublishContext(ctx, topic, m); err != nil {
				return err
			}
		}
		return nil
	}
	if err := p.subscribe(ctx, topic, "", n+warm, see, send); err != nil {
		return err
	}
	budget := under{0.4, 1, "p50 ≤ 0.4, p99 ≤ 1"}
	if e.kafka {
		budget = under{} // set for the embedded broker
	}
	e.report.times(fmt.Sprintf("bus.latency_%d", rate), ms[warm:], budget, fmt.Sprintf("publish to handler at %d messages/s, one message per call", rate))
	return nil
}
