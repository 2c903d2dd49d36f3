package kafka

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/testkit"
	"github.com/agentos-kernel/agentos/libs/testkit/kafkatest"
)

// A cluster that has only just opened its port: its broker may not be registered yet, the coordinator of
// groups not made, the topic not known. Each is a state that passes, and nothing is said about it.
func TestFreshCluster(t *testing.T) { //nolint:paralleltest // one JVM at a time on a small machine
	b := kafkatest.Start(t, kafkatest.Config{KafkaTimes: true})
	log := &quiet{}
	cfg := b.Bus()
	cfg.Logger = log.logger()
	began := time.Now()
	l := newListener(t, cfg, "fresh") // waits for the topic
	if err := bus.EnsureTopics(t.Context(), cfg, []bus.TopicSpec{{Name: "fresh", Partitions: 12, Retention: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	publish(t, cfg, "fresh", 200)
	testkit.Eventually(t, "all messages", func() bool { return l.count() == 200 })
	t.Logf("the first 200 messages were handled %.1f s after the port was open", time.Since(began).Seconds())
	l.check(t)
	log.check(t)
	t.Run("partition count", func(t *testing.T) { //nolint:paralleltest // as above
		err := bus.EnsureTopics(t.Context(), cfg, []bus.TopicSpec{{Name: "fresh", Partitions: 4}})
		if !fault.Is(err, fault.Invalid) || fault.FixOf(err) == "" {
			t.Errorf("got %v, want fault.Invalid with a fix", err)
		}
	})
	t.Run("topic of another connection", func(t *testing.T) { topicOfAnother(t, cfg) }) //nolint:paralleltest // as above
	t.Run("vanished member", func(t *testing.T) { vanishedMember(t, b.Bus()) })         //nolint:paralleltest // as above
}

// topicOfAnother publishes to a topic that was made over another connection, while the publisher's own
// idea of the cluster is older than the topic. kafka-go's Writer fails for up to 6 s then.
func topicOfAnother(t *testing.T, cfg bus.Config) {
	t.Helper()
	p, err := bus.NewPublisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }() // always nil
	if err := p.Publish("fresh", numbered(0)); err != nil {
		t.Fatal(err)
	}
	if err := bus.EnsureTopics(t.Context(), cfg, []bus.TopicSpec{{Name: "late", Partitions: 3}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish("late", numbered(0)); err != nil {
		t.Error(err)
	}
	w := &kafka.Writer{Addr: kafka.TCP(cfg.Brokers...), Topic: "later", RequiredAcks: kafka.RequireAll, BatchSize: 1, MaxAttempts: 1, Transport: &kafka.Transport{}}
	defer func() { _ = w.Close() }() // it is only asked for an error
	if err := w.WriteMessages(t.Context(), kafka.Message{Key: []byte("k")}); !errors.Is(err, kafka.UnknownTopicOrPartition) {
		t.Errorf("write to no topic: %v", err)
	}
	if err := bus.EnsureTopics(t.Context(), cfg, []bus.TopicSpec{{Name: "later", Partitions: 3}}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := p.Publish("later", numbered(0)); err != nil {
		t.Error(err)
	}
	t.Logf("our publisher wrote to it after %.2f s; kafka-go's Writer at that time: %v", time.Since(began).Seconds(),
		w.WriteMessages(t.Context(), kafka.Message{Key: []byte("k")}))
}

// Kafka's own times throughout: the broker is killed under load and is away until the controller has given
// up its predecessor; the group goes on within 15 s of its return, with nothing lost and nothing out of order.
func TestKilledBrokerWithKafkaTimes(t *testing.T) { //nolint:paralleltest // one JVM at a time on a small machine
	b := kafkatest.Start(t, kafkatest.Config{KafkaTimes: true})
	cfg := b.Bus()
	cfg.RetryTime = time.Minute
	if err := bus.EnsureTopics(t.Context(), cfg, []bus.TopicSpec{{Name: "killed", Partitions: 4}}); err != nil {
		t.Fatal(err)
	}
	l := newListener(t, cfg, "killed")
	stopFlow := flow(t, cfg, "killed")
	testkit.Eventually(t, "the first messages", func() bool { return l.count() > 200 })
	b.Kill()
	killed := time.Now()
	b.MustStart(t)
	awaitAnswer(t, cfg)
	back := time.Now()
	before := l.count()
	eventually(t, 15*time.Second, "handling after the broker was back", func() bool { return l.count() > before })
	t.Logf("the broker was away for %.1f s; handling went on %.1f s after it was back", back.Sub(killed).Seconds(), time.Since(back).Seconds())
	published := stopFlow()
	eventually(t, time.Minute, "all messages", func() bool { return l.count() == published })
	l.check(t)
	t.Logf("%d messages, 0 lost, 0 out of order", published)
}

// vanishedMember: who vanishes without a word keeps the partitions until the session ends.
func vanishedMember(t *testing.T, cfg bus.Config) {
	t.Helper()
	if err := bus.EnsureTopics(t.Context(), cfg, []bus.TopicSpec{{Name: "vanished", Partitions: 4}}); err != nil {
		t.Fatal(err)
	}
	l := newListener(t, cfg, "vanished")
	eventually(t, time.Minute, "the first member", func() bool { return len(l.consumer.Stats().Shards) == 4 })
	dropMember(t, cfg, "vanished")
	vanished := time.Now()
	publish(t, cfg, "vanished", 100)
	eventually(t, time.Minute, "all messages", func() bool { return l.count() == 100 })
	took := time.Since(vanished)
	l.check(t)
	t.Logf("its partitions moved %.1f s after a member had vanished; KAFKA_SESSION_TIMEOUT (6s) is the setting", took.Seconds())
	if took < 3*time.Second {
		t.Error("so the member that vanished did not hold them")
	}
}

// dropMember joins the group, takes its partitions and is never heard of again: its connections break and
// it cannot open new ones.
func dropMember(t *testing.T, cfg bus.Config, topic string) {
	t.Helper()
	cfg = cfg.WithDefaults()
	var mu sync.Mutex
	var conns []net.Conn
	gone := false
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: "group-" + topic, Brokers: cfg.Brokers, Topics: []string{topic}, GroupBalancers: []kafka.GroupBalancer{kafka.RangeGroupBalancer{}},
		SessionTimeout: cfg.SessionTimeout, RebalanceTimeout: cfg.RebalanceTimeout,
		Dialer: &kafka.Dialer{DialFunc: func(ctx context.Context, network, addr string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			if gone {
				return nil, net.ErrClosed
			}
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			conns = append(conns, c)
			return c, err
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = group.Close() }) // it cannot say goodbye
	eventually(t, time.Minute, "a second member", func() bool {
		gen, err := group.Next(t.Context())
		return err == nil && len(gen.Assignments[topic]) > 0
	})
	mu.Lock()
	defer mu.Unlock()
	gone = true
	for _, c := range conns {
		if c != nil {
			_ = c.Close() // that is what it is about
		}
	}
}

// flow publishes 20 messages at a time until it is stopped, and then says how many.
func flow(t *testing.T, cfg bus.Config, topic string) (stop func() int) {
	t.Helper()
	p, err := bus.NewPublisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	n := 0
	wg.Go(func() {
		for ctx.Err() == nil {
			msgs := make([]*message.Message, 20)
			for i := range msgs {
				msgs[i] = numbered(n + i)
			}
			if err := p.PublishContext(context.WithoutCancel(ctx), topic, msgs...); err != nil {
				t.Errorf("publish: %v", err)
				return
			}
			n += len(msgs)
			time.Sleep(5 * time.Millisecond)
		}
	})
	stop = sync.OnceValue(func() int {
		cancel()
		wg.Wait()
		_ = p.Close() // always nil
		return n
	})
	t.Cleanup(func() { stop() })
	return stop
}

// awaitAnswer waits until the broker serves again: an open port is not enough, the controller must have
// given up its predecessor.
func awaitAnswer(t *testing.T, cfg bus.Config) {
	t.Helper()
	eventually(t, time.Minute, "a broker in the cluster", func() bool {
		n, err := bus.Nodes(t.Context(), cfg)
		return err == nil && n > 0
	})
}

func eventually(tb testing.TB, limit time.Duration, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %s: %s", limit, what)
		}
	}
}
