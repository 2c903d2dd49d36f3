package bus_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/agentos-kernel/agentos/libs/bus"
)

// franz is another client, for what kafka-go cannot ask for.
func franz(t *testing.T, cfg bus.Config) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func TestTailFromNewest(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	ensure(t, cfg, 3, "a", "b")
	p := newPublisher(t, cfg)
	publish(t, p, "a", numbered(10, 10)...)
	ready := make(chan struct{})
	cfg.OnReady = func() { close(ready) }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	var inside, count atomic.Int32
	next := map[string]int{}
	go func() {
		ended <- bus.Tail(ctx, cfg, []string{"a", "b"}, bus.Newest, func(m *message.Message) { //nolint:contextcheck // a message has its own
			if inside.Add(1) != 1 {
				t.Error("two calls at a time")
			}
			checkNext(t, next, m)
			inside.Add(-1)
			count.Add(1)
		})
	}()
	<-ready
	publish(t, p, "b", numbered(10, 20)...)
	eventually(t, "the new messages", func() bool { return count.Load() == 200 })
	start := time.Now()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Errorf("the end took %v", took)
	}
	for key := range next {
		if key[0] == 'a' {
			t.Errorf("got an old message of %s", key)
		}
	}
}

// A tail may be started before its topic and its broker are there.
func TestTailWaitsForTopic(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	got := make(chan string, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- bus.Tail(ctx, cfg, []string{"late"}, bus.Oldest, func(m *message.Message) { got <- m.UUID })
	}()
	time.Sleep(100 * time.Millisecond)
	ensure(t, cfg, 1, "late")
	publish(t, newPublisher(t, cfg), "late", message.NewMessage("x", nil))
	select {
	case id := <-got:
		if id != "x" {
			t.Error(id)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing received")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Records of other clients come through, transactions with their control records too.
func TestTransactionsOfOthers(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	ensure(t, cfg, 1, "t")
	cl, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...), kgo.TransactionalID("tx"), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range 3 {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		rec := &kgo.Record{Topic: "t", Key: []byte("key-0"), Value: fmt.Append(nil, i)}
		if err := cl.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	next := map[string]int{}
	for _, m := range receive(t, cfg, 3) {
		checkNext(t, next, m)
	}
	c, stop := goConsume(t, cfg, "g", []string{"t"}, funcHandler(func(context.Context, int, []*message.Message) error { return nil }))
	eventually(t, "the end", func() bool {
		st := c.Stats()
		return len(st.Shards) == 1 && st.Shards[0].Topics[0].Fetched == 6
	})
	stop()
}

func TestSubscriberContexts(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	cfg.NackDelay = 5 * time.Millisecond
	ensure(t, cfg, 1, "t")
	publish(t, newPublisher(t, cfg), "t", numbered(1, 2)...)
	s, err := bus.NewSubscriber(cfg, "g")
	if err != nil {
		t.Fatal(err)
	}
	type key struct{}
	msgs, err := s.Subscribe(context.WithValue(t.Context(), key{}, "value"), "t")
	if err != nil {
		t.Fatal(err)
	}
	for try := range 3 {
		m := <-msgs
		if m.UUID != "0-0" || m.Context().Err() != nil || m.Context().Value(key{}) != "value" || bus.MessageOffset(m.Context()) != 0 {
			t.Errorf("try %d: message %s, context %v", try, m.UUID, m.Context())
		}
		if try < 2 {
			m.Nack()
		} else {
			m.Ack()
		}
		<-m.Context().Done()
	}
	// Close waits for the Ack of the second one, and keeps it.
	m := <-msgs
	go func() {
		time.Sleep(100 * time.Millisecond)
		m.Ack()
	}()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if m.UUID != "0-1" || !m.Ack() {
		t.Errorf("Close did not wait for %s", m.UUID)
	}
	if _, open := <-msgs; open {
		t.Error("the channel is open after Close")
	}
	res, err := franz(t, cfg).Request(t.Context(), offsetFetch("g", "t"))
	if err != nil {
		t.Fatal(err)
	}
	if got := committed(t, res); got != 2 {
		t.Errorf("committed %d, want 2", got)
	}
}

func offsetFetch(group, topic string) kmsg.Request {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 7
	req.Group = group
	rt := kmsg.NewOffsetFetchRequestTopic()
	rt.Topic, rt.Partitions = topic, []int32{0}
	req.Topics = append(req.Topics, rt)
	g := kmsg.NewOffsetFetchRequestGroup()
	gt := kmsg.NewOffsetFetchRequestGroupTopic()
	g.Group, gt.Topic, gt.Partitions = group, topic, []int32{0}
	g.Topics = append(g.Topics, gt)
	req.Groups = append(req.Groups, g)
	return req
}

func committed(t *testing.T, res kmsg.Response) int64 {
	t.Helper()
	r, ok := res.(*kmsg.OffsetFetchResponse)
	if !ok {
		t.Fatalf("answer is a %T", res)
	}
	if len(r.Groups) > 0 {
		return r.Groups[0].Topics[0].Partitions[0].Offset
	}
	return r.Topics[0].Partitions[0].Offset
}
