// Package bustest runs Watermill's universal suite against a broker of the caller's.
package bustest

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

// Suite runs the suite with each of the three sets of features the bus has: consumer groups, order within
// a key, and reading without a group. connect is called once for each; they run in parallel.
func Suite(t *testing.T, connect func(t *testing.T) bus.Config) {
	t.Helper()
	for _, c := range []struct {
		name         string
		key, grouped bool
		features     tests.Features
	}{
		{"groups", false, true, tests.Features{ConsumerGroups: true, Persistent: true}},
		{"ordered", true, true, tests.Features{ConsumerGroups: true, Persistent: true, GuaranteedOrder: true}},
		{"no_group", false, false, tests.Features{Persistent: true, NewSubscriberReceivesOldMessages: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			one, group := constructors(suiteConfig(connect(t)), c.key, c.grouped)
			tests.TestPubSub(t, c.features, one, group)
		})
	}
}

// Reconnect is the suite's test of a broker that goes away and comes back, twice, under 10,000 messages.
func Reconnect(t *testing.T, cfg bus.Config, restart func() error) {
	t.Helper()
	one, _ := constructors(suiteConfig(cfg), false, true)
	tests.TestReconnect(t, tests.TestContext{
		TestID:   tests.TestID(watermill.NewUUID()),
		Features: tests.Features{ConsumerGroups: true, Persistent: true, RestartServiceCommand: command(t, restart)},
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
