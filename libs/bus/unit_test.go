package bus_test

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func TestPartitionIsKafkaGoHash(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringN(1, -1, -1).Draw(t, "key")
		n := rapid.IntRange(1, 200).Draw(t, "n")
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		want := (&kafka.Hash{}).Balance(kafka.Message{Key: []byte(key)}, all...)
		if got := bus.Partition(key, n); got != want {
			t.Fatalf("Partition(%q, %d) = %d, kafka-go says %d", key, n, got, want)
		}
	})
	for _, n := range []int{-1, 0, 1} {
		if got := bus.Partition("x", n); got != 0 {
			t.Errorf("Partition(x, %d) = %d, want 0", n, got)
		}
	}
}

// Keys move to other shards if these change, so they never may.
func TestPartitionGolden(t *testing.T) {
	t.Parallel()
	got := map[string]int{}
	for _, key := range []string{"a", "agent-1", "p_01hzx", "é", "0"} {
		got[key] = bus.Partition(key, 12)
	}
	want := map[string]int{"a": 0, "agent-1": 0, "p_01hzx": 9, "é": 9, "0": 3}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConfigNamesEveryBadField(t *testing.T) {
	t.Parallel()
	bad := bus.Config{
		SessionTimeout: time.Second, HeartbeatInterval: time.Second, JoinBackoff: time.Microsecond,
		MaxWait: -1, Window: -3, FetchBytes: 1, Partitions: -1, Replication: -2,
	}
	_, err := bus.NewPublisher(bad)
	if !fault.Is(err, fault.Invalid) {
		t.Fatalf("got %v, want an invalid configuration", err)
	}
	for _, field := range []string{
		"Brokers", "HeartbeatInterval", "JoinBackoff", "MaxWait", "Window", "FetchBytes", "Partitions", "Replication",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
	if strings.Contains(err.Error(), "GraceTime") {
		t.Errorf("%v names a field that is right", err)
	}
}

func TestWithDefaultsCopies(t *testing.T) {
	t.Parallel()
	in := bus.Config{Brokers: []string{"a:1"}, Window: 7}
	out := in.WithDefaults()
	out.Brokers[0] = "b:2"
	if in.Brokers[0] != "a:1" || in.MaxWait != 0 {
		t.Errorf("WithDefaults changed its receiver: %+v", in)
	}
	if out.Window != 7 || out.SessionTimeout != 6*time.Second || out.RebalanceTimeout != 3*time.Second ||
		out.HeartbeatInterval != 500*time.Millisecond || out.JoinBackoff != 200*time.Millisecond ||
		out.MaxWait != time.Second || out.GraceTime != 10*time.Second || out.Logger == nil {
		t.Errorf("wrong defaults: %+v", out)
	}
}

func TestConstructorsRefuse(t *testing.T) {
	t.Parallel()
	ok := bus.Config{Brokers: []string{"127.0.0.1:1"}}
	h := funcHandler(nil)
	checks := map[string]error{}
	_, checks["publisher without brokers"] = bus.NewPublisher(bus.Config{})
	_, checks["subscriber without brokers"] = bus.NewSubscriber(bus.Config{}, "")
	_, checks["consumer without brokers"] = bus.NewConsumer(bus.Config{}, "g", []string{"t"}, h)
	_, checks["consumer without group"] = bus.NewConsumer(ok, "", []string{"t"}, h)
	_, checks["consumer without topics"] = bus.NewConsumer(ok, "g", nil, h)
	_, checks["consumer without handler"] = bus.NewConsumer(ok, "g", []string{"t"}, nil)
	checks["tail without topics"] = bus.Tail(t.Context(), ok, nil, bus.Oldest, func(*message.Message) {})
	checks["tail without function"] = bus.Tail(t.Context(), ok, []string{"t"}, bus.Oldest, nil)
	checks["tail from nowhere"] = bus.Tail(t.Context(), ok, []string{"t"}, 7, func(*message.Message) {})
	checks["topic without partitions"] = bus.EnsureTopics(t.Context(), ok, []bus.TopicSpec{{Name: "t"}})
	for name, err := range checks {
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want fault.Invalid", name, err)
		}
	}
}

func TestEnsureTopics(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	spec := []bus.TopicSpec{
		{Name: "a", Partitions: 3, Retention: time.Hour, RetentionBytes: 1 << 20}, {Name: "b", Partitions: 1},
	}
	for range 2 {
		if err := bus.EnsureTopics(t.Context(), cfg, spec); err != nil {
			t.Fatal(err)
		}
	}
	tr := &kafka.Transport{}
	defer tr.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Transport: tr}
	res, err := client.DescribeConfigs(t.Context(), &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: "a"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range res.Resources[0].ConfigEntries {
		if strings.HasPrefix(e.ConfigName, "retention.") {
			got[e.ConfigName] = e.ConfigValue
		}
	}
	want := map[string]string{"retention.ms": "3600000", "retention.bytes": "1048576"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	spec[0].Partitions = 5
	err = bus.EnsureTopics(t.Context(), cfg, spec)
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "3 partitions, but 5") {
		t.Errorf("got %v, want fault.Invalid with both counts", err)
	}
}

func TestAwayBrokerIsUnavailable(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, freePort())
	cfg.RetryTime = 300 * time.Millisecond
	start := time.Now()
	if err := bus.EnsureTopics(t.Context(), cfg, []bus.TopicSpec{{Name: "t", Partitions: 1}}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("EnsureTopics: %v", err)
	}
	p := newPublisher(t, cfg)
	if err := p.Publish("t", events(1, 1)...); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Publish: %v", err)
	}
	if err := p.Ping(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Ping: %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.PublishContext(ctx, "t", events(1, 1)...); !fault.Is(err, fault.Canceled) {
		t.Errorf("canceled Publish: %v", err)
	}
	if err := bus.Tail(ctx, cfg, []string{"t"}, bus.Oldest, func(*message.Message) {}); err != nil {
		t.Errorf("canceled Tail: %v", err)
	}
}

func TestPublisherErrors(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	cfg.RetryTime = time.Second
	ensure(t, cfg, 2, "t")
	p := newPublisher(t, cfg)
	if err := p.Publish("t"); err != nil {
		t.Errorf("nothing to publish: %v", err)
	}
	if err := p.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
	start := time.Now()
	if err := p.Publish("t", events(1, 2<<20)...); !fault.Is(err, fault.Invalid) || !errors.Is(err, kafka.MessageSizeTooLarge) {
		t.Errorf("message too large: %v", err)
	}
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Errorf("a hopeless message was tried for %v", took)
	}
	if err := p.Publish("missing", events(1, 1)...); !fault.Is(err, fault.Unavailable) {
		t.Errorf("missing topic: %v", err)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := p.Publish("t", events(1, 1)...); err == nil {
		t.Error("published after Close")
	}
	if err := p.Ping(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Ping after Close: %v", err)
	}
	s, err := bus.NewSubscriber(cfg, "g")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := s.Subscribe(t.Context(), "t"); !fault.Is(err, fault.Invalid) {
		t.Errorf("Subscribe after Close: %v", err)
	}
	if err := s.SubscribeInitialize("t"); !fault.Is(err, fault.Invalid) {
		t.Errorf("SubscribeInitialize after Close: %v", err)
	}
}

// A topic that comes into being while a publish retries is found at once, not after the metadata's
// time to live.
func TestPublishFindsNewTopic(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	p := newPublisher(t, cfg)
	if err := p.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Publish("late", events(10, 1)...) }()
	time.Sleep(100 * time.Millisecond)
	ensure(t, cfg, 2, "late")
	start := time.Now()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v after the topic was there", took)
	}
}

// receive reads messages of topic t from the oldest until n are there.
func receive(tb testing.TB, cfg bus.Config, n int) []*message.Message {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var got []*message.Message
	err := bus.Tail(ctx, cfg, []string{"t"}, bus.Oldest, func(m *message.Message) {
		if got = append(got, m); len(got) == n {
			cancel()
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	if len(got) < n {
		tb.Fatalf("received %d of %d messages", len(got), n)
	}
	return got
}

func TestMessagesArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	ensure(t, cfg, 1, "t")
	sent := []struct {
		uuid, payload string
		meta          map[string]string
	}{
		{"u1", "plain", map[string]string{bus.KeyMetadata: "k1"}},
		{"u2", "", map[string]string{bus.KeyMetadata: "k1", "ce_id": "u2", "ce_type": "agent.spawned"}},
		{"u3", "\x00\xff", map[string]string{bus.KeyMetadata: "k\x00é", "ce_id": "another", "empty": ""}},
		{"", "no id", map[string]string{bus.KeyMetadata: "k2", "Traceparent": strings.Repeat("ü", 5000)}},
		{"u5", strings.Repeat("x", 1<<20-2000), map[string]string{bus.KeyMetadata: "big"}},
	}
	p := newPublisher(t, cfg)
	for _, s := range sent {
		m := message.NewMessage(s.uuid, message.Payload(s.payload))
		m.Metadata = maps.Clone(s.meta)
		publish(t, p, "t", m)
		if diff := cmp.Diff(s.meta, map[string]string(m.Metadata)); diff != "" {
			t.Errorf("Publish changed the metadata: %s", diff)
		}
	}
	for i, m := range receive(t, cfg, len(sent)) {
		want := sent[i]
		if m.UUID != want.uuid || string(m.Payload) != want.payload {
			t.Errorf("message %d: uuid %q and %d bytes, want %q and %d", i, m.UUID, len(m.Payload), want.uuid, len(want.payload))
		}
		if diff := cmp.Diff(want.meta, map[string]string(m.Metadata)); diff != "" {
			t.Errorf("message %d: %s", i, diff)
		}
		ctx := m.Context()
		if bus.MessageTopic(ctx) != "t" || bus.MessagePartition(ctx) != 0 || bus.MessageOffset(ctx) != int64(i) {
			t.Errorf("message %d is said to come from %s/%d@%d", i, bus.MessageTopic(ctx), bus.MessagePartition(ctx), bus.MessageOffset(ctx))
		}
	}
	ctx := context.Background()
	if bus.MessageTopic(ctx) != "" || bus.MessagePartition(ctx) != -1 || bus.MessageOffset(ctx) != -1 {
		t.Error("a context of another origin has a topic, partition or offset")
	}
}

// Without a key the UUID is the key, so that a message always has one.
func TestKeyIsNeverEmpty(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	ensure(t, cfg, 8, "t")
	p := newPublisher(t, cfg)
	publish(t, p, "t", message.NewMessage("just-a-uuid", nil), message.NewMessage("", nil))
	for _, m := range receive(t, cfg, 2) {
		key := m.Metadata.Get(bus.KeyMetadata)
		if key == "" || m.UUID != "" && key != m.UUID {
			t.Errorf("message %q has key %q", m.UUID, key)
		}
		if want := bus.Partition(key, 8); bus.MessagePartition(m.Context()) != want {
			t.Errorf("key %q is on partition %d, want %d", key, bus.MessagePartition(m.Context()), want)
		}
	}
}

// A call larger than BatchBytes is cut, in order.
func TestPublishKeepsOrderPerKey(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	cfg.BatchBytes = 4 << 10
	ensure(t, cfg, 4, "t")
	p := newPublisher(t, cfg)
	const keys, each = 10, 200
	publish(t, p, "t", numbered(keys, each)...)
	next := map[string]int{}
	for _, m := range receive(t, cfg, keys*each) {
		checkNext(t, next, m)
	}
}

func TestTLSIsUsed(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t) // speaks plain TCP, so TLS must fail
	cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	cfg.RetryTime, cfg.RequestTimeout = 300*time.Millisecond, 300*time.Millisecond
	if err := newPublisher(t, cfg).Ping(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want fault.Unavailable", err)
	}
}
