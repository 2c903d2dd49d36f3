package bus_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	"github.com/agentos-kernel/agentos/libs/bus"
)

// constantKey gives every message the same key, for the runs that test order.
type constantKey struct{ message.Publisher }

func (c constantKey) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		m.Metadata.Set(bus.KeyMetadata, "k")
	}
	return c.Publisher.Publish(topic, messages...)
}

func suiteConfig(cfg bus.Config) bus.Config {
	cfg.GraceTime = 300 * time.Millisecond // some tests close with messages never acked
	cfg.Partitions = 50
	if testing.Short() {
		cfg.Partitions = 8
	}
	return cfg
}

// constructors are the suite's. Each test has its own group, or its members would rebalance those
// of the other tests.
func constructors(cfg bus.Config, key, grouped bool) (tests.PubSubConstructor, tests.ConsumerGroupPubSubConstructor) {
	withGroup := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		t.Helper()
		p, err := bus.NewPublisher(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !grouped {
			group = ""
		}
		s, err := bus.NewSubscriber(cfg, group)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { // some tests of the suite leave theirs open
			if err := errors.Join(p.Close(), s.Close()); err != nil {
				t.Error(err)
			}
		})
		if key {
			return constantKey{p}, s
		}
		return p, s
	}
	return func(t *testing.T) (message.Publisher, message.Subscriber) {
		t.Helper()
		return withGroup(t, t.Name())
	}, withGroup
}

func TestSuiteGroups(t *testing.T) {
	t.Parallel()
	one, group := constructors(suiteConfig(startBroker(t)), false, true)
	tests.TestPubSub(t, tests.Features{ConsumerGroups: true, Persistent: true}, one, group)
}

func TestSuiteOrdered(t *testing.T) {
	t.Parallel()
	one, group := constructors(suiteConfig(startBroker(t)), true, true)
	tests.TestPubSub(t, tests.Features{ConsumerGroups: true, Persistent: true, GuaranteedOrder: true}, one, group)
}

func TestSuiteNoGroup(t *testing.T) {
	t.Parallel()
	one, group := constructors(suiteConfig(startBroker(t)), false, false)
	tests.TestPubSub(t, tests.Features{Persistent: true, NewSubscriberReceivesOldMessages: true}, one, group)
}

// lateLast holds back the last of n messages. TestReconnect compares what it received with what it
// has noted as published as soon as it has received all, and a message may arrive before its Publish
// has returned.
type lateLast struct {
	*bus.Subscriber
	n int
}

func (l lateLast) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	in, err := l.Subscriber.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	forward := func(m *message.Message) {
		select {
		case out <- m:
		case <-m.Context().Done():
		}
	}
	go func() {
		var wg sync.WaitGroup
		defer close(out)
		defer wg.Wait()
		seen := map[string]bool{}
		for m := range in {
			if seen[m.UUID] = true; len(seen) == l.n {
				time.Sleep(time.Second)
			}
			// Not one after the other: there may be one message per partition.
			wg.Go(func() { forward(m) })
		}
	}()
	return out, nil
}

func TestSuiteReconnect(t *testing.T) {
	if testing.Short() {
		t.Skip("restarts a broker under 10,000 messages")
	}
	t.Parallel()
	p := startProcess(t)
	one, _ := constructors(suiteConfig(testConfig(t, p.port)), false, true)
	tests.TestReconnect(t, tests.TestContext{
		TestID:   tests.TestID(watermill.NewUUID()),
		Features: tests.Features{ConsumerGroups: true, Persistent: true, RestartServiceCommand: p.restartCommand()},
	}, func(t *testing.T) (message.Publisher, message.Subscriber) {
		t.Helper()
		p, s := one(t)
		ours, ok := s.(*bus.Subscriber)
		if !ok {
			t.Fatalf("subscriber is a %T", s)
		}
		return p, lateLast{ours, 10_000}
	})
}
