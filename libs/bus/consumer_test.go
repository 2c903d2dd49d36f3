package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// numbered makes messages 0..each-1 for each key, the keys taking turns.
func numbered(keys, each int) []*message.Message {
	var msgs []*message.Message
	for i := range each {
		for k := range keys {
			m := message.NewMessage(fmt.Sprintf("%d-%d", k, i), message.Payload(strconv.Itoa(i)))
			m.Metadata.Set(bus.KeyMetadata, fmt.Sprintf("key-%d", k))
			msgs = append(msgs, m)
		}
	}
	return msgs
}

// checkNext checks that a message is the next of its key and topic.
func checkNext(tb testing.TB, next map[string]int, m *message.Message) {
	tb.Helper()
	key := bus.MessageTopic(m.Context()) + " " + m.Metadata.Get(bus.KeyMetadata)
	if n, err := strconv.Atoi(string(m.Payload)); err != nil || n != next[key] {
		tb.Errorf("%s: got message %q, want %d", key, m.Payload, next[key])
	}
	next[key]++
}

// eventually waits until ok.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	tb.Fatalf("timed out: %s", what)
}

// recorder is a Handler that checks its contract.
type recorder struct {
	t       testing.TB
	work    func(ctx context.Context, shard int, msgs []*message.Message) error // may be nil
	refuse  atomic.Int32                                                        // this many Assigned fail
	mu      sync.Mutex
	next    map[string]int // per topic and key
	seen    map[string]int // deliveries that were handled, per topic and UUID
	busy    map[int]bool   // by shard
	owned   map[int]bool
	history []string
}

func newRecorder(tb testing.TB) *recorder {
	tb.Helper()
	return &recorder{t: tb, next: map[string]int{}, seen: map[string]int{}, busy: map[int]bool{}, owned: map[int]bool{}}
}

func (r *recorder) Assigned(_ context.Context, shards []int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse.Add(-1) >= 0 {
		r.history = append(r.history, "refused")
		return errors.New("not yet")
	}
	r.history = append(r.history, fmt.Sprint("assigned", shards))
	for _, s := range shards {
		if r.owned[s] {
			r.t.Errorf("shard %d is assigned twice", s)
		}
		r.owned[s] = true
	}
	return nil
}

func (r *recorder) Revoked(shards []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, fmt.Sprint("revoked", shards))
	for _, s := range shards {
		delete(r.owned, s)
	}
}

func (r *recorder) Handle(ctx context.Context, shard int, msgs []*message.Message) error {
	r.mu.Lock()
	if r.busy[shard] || !r.owned[shard] {
		r.t.Errorf("shard %d: busy %v, owned %v", shard, r.busy[shard], r.owned[shard])
	}
	r.busy[shard] = true
	r.mu.Unlock()
	var err error
	if r.work != nil {
		err = r.work(ctx, shard, msgs)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy[shard] = false
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if p := bus.MessagePartition(m.Context()); p != shard { //nolint:contextcheck // a message has its own
			r.t.Errorf("shard %d got a message of partition %d", shard, p)
		}
		r.seen[bus.MessageTopic(m.Context())+" "+m.UUID]++ //nolint:contextcheck // a message has its own
		checkNext(r.t, r.next, m)                          //nolint:contextcheck // a message has its own
	}
	return nil
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

func TestConsumerGetsAllTopicsOfAShardInOrder(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	cfg.Window = 16
	topics := []string{"a", "b", "c"}
	ensure(t, cfg, 4, topics...)
	p := newPublisher(t, cfg)
	r := newRecorder(t)
	r.refuse.Store(2)
	mixed := atomic.Bool{}
	r.work = func(_ context.Context, _ int, msgs []*message.Message) error {
		if len(msgs) > cfg.Window {
			t.Errorf("batch of %d", len(msgs))
		}
		if bus.MessageTopic(msgs[0].Context()) != bus.MessageTopic(msgs[len(msgs)-1].Context()) { //nolint:contextcheck // a message has its own
			mixed.Store(true)
		}
		return nil
	}
	for _, topic := range topics {
		publish(t, p, topic, numbered(20, 50)...)
	}
	c, stop := goConsume(t, cfg, "g", append(topics, "a"), r)
	eventually(t, "all messages", func() bool { return r.count() == 3*20*50 })
	if !mixed.Load() {
		t.Error("no batch held messages of two topics")
	}
	eventually(t, "the commit", func() bool { return c.Stats().Commits > 0 })
	checkStats(t, c.Stats())
	stop()
	if got := fmt.Sprint(r.history); got != "[refused refused assigned[0 1 2 3] revoked[0 1 2 3]]" {
		t.Error(got)
	}

	// A new member goes on where the first stopped.
	second := newRecorder(t)
	_, stop = goConsume(t, cfg, "g", topics, second)
	m := message.NewMessage("last", message.Payload("0"))
	publish(t, p, "b", m)
	eventually(t, "the last message", func() bool { return second.count() > 0 })
	stop()
	if second.seen["b last"] != 1 || len(second.seen) != 1 {
		t.Errorf("second member got %v", second.seen)
	}
}

func checkStats(t *testing.T, st bus.Stats) {
	t.Helper()
	total := int64(0)
	for i, s := range st.Shards {
		if s.ID != i || len(s.Topics) != 3 || s.Batches == 0 || s.LastProgress.IsZero() {
			t.Errorf("shard %+v", s)
		}
		for _, p := range s.Topics {
			if p.Lag != 0 || p.Position != p.HighWatermark || p.Fetched != p.Position {
				t.Errorf("position %+v", p)
			}
			total += p.Position
		}
	}
	if len(st.Shards) != 4 || st.Generation < 1 || total != 3*20*50 || st.Gaps+st.Restarts+st.FailedCommits != 0 {
		t.Errorf("stats %+v, positions sum to %d", st, total)
	}
}

func TestConsumerRedeliversAfterError(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	ensure(t, cfg, 1, "t")
	r := newRecorder(t)
	var tries []string
	r.work = func(_ context.Context, _ int, msgs []*message.Message) error {
		var ids []string
		for _, m := range msgs {
			ids = append(ids, m.UUID)
			if !m.Ack() { // a Nack of an earlier try must be forgotten
				t.Error("a message came with a Nack")
			}
		}
		tries = append(tries, fmt.Sprint(ids))
		if len(tries) < 4 {
			return errors.New("the database is away")
		}
		return nil
	}
	publish(t, newPublisher(t, cfg), "t", numbered(1, 3)...)
	c, stop := goConsume(t, cfg, "g", []string{"t"}, r)
	eventually(t, "all messages", func() bool { return r.count() == 3 })
	if st := c.Stats(); st.Shards[0].Redeliveries != 3 || st.Shards[0].Messages != 3 {
		t.Errorf("stats %+v", st.Shards[0])
	}
	stop()
	for _, ids := range tries[1:4] {
		if ids != tries[0] {
			t.Errorf("batches differ: %q", tries)
		}
	}
}

func TestConsumerRefusesUnequalTopics(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	ensure(t, cfg, 1, "a")
	ensure(t, cfg, 2, "b")
	c, err := bus.NewConsumer(cfg, "g", []string{"a", "b"}, newRecorder(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range []string{"topics differ", "second Run"} {
		if err := c.Run(t.Context()); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func TestConsumerRefusedSession(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	ensure(t, cfg, 1, "a")
	cfg.SessionTimeout, cfg.HeartbeatInterval = 500*time.Millisecond, 100*time.Millisecond
	c, err := bus.NewConsumer(cfg, "g", []string{"a"}, newRecorder(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v, want fault.Invalid for a session below the broker's least", err)
	}
}

func TestIdleShutdownIsFast(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	cfg.MaxWait = 10 * time.Second
	ensure(t, cfg, 4, "a", "b")
	r := newRecorder(t)
	c, stop := goConsume(t, cfg, "g", []string{"a", "b"}, r)
	eventually(t, "the polls", func() bool { return len(c.Stats().Shards) == 4 })
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	stop()
	took := time.Since(start)
	for range 2 { // the best of three, for machines with other load
		c, stop = goConsume(t, cfg, "g", []string{"a", "b"}, r)
		eventually(t, "the polls", func() bool { return len(c.Stats().Shards) == 4 })
		start = time.Now()
		stop()
		took = min(took, time.Since(start))
	}
	if took > 200*time.Millisecond {
		t.Errorf("shutdown took %v", took)
	}
	// It left: the next member does not wait for the session.
	start = time.Now()
	c, stop = goConsume(t, cfg, "g", []string{"a", "b"}, r)
	eventually(t, "the second member", func() bool { return len(c.Stats().Shards) == 4 })
	if took := time.Since(start); took > time.Second {
		t.Errorf("the next join took %v", took)
	}
	stop()
}

func TestDrainLetsHandleFinish(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	ensure(t, cfg, 1, "t")
	p := newPublisher(t, cfg)
	publish(t, p, "t", numbered(1, 5)...)
	r := newRecorder(t)
	begun := make(chan struct{})
	r.work = func(ctx context.Context, _ int, _ []*message.Message) error {
		close(begun)
		time.Sleep(500 * time.Millisecond)
		return ctx.Err()
	}
	_, stop := goConsume(t, cfg, "g", []string{"t"}, r)
	<-begun
	stop()
	if n := r.count(); n == 0 {
		t.Fatal("the running Handle was not waited for, or its context was canceled")
	}
	// Its offsets were committed, so a second member gets only what comes after.
	publish(t, p, "t", message.NewMessage("next", message.Payload("0")))
	second := newRecorder(t)
	second.next = map[string]int{"t key-0": r.count()}
	_, stop = goConsume(t, cfg, "g", []string{"t"}, second)
	eventually(t, "the rest", func() bool { return second.count() == 6-r.count() })
	stop()
}

func TestDrainEndsAfterGraceTime(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	cfg.GraceTime = 200 * time.Millisecond
	ensure(t, cfg, 1, "t")
	publish(t, newPublisher(t, cfg), "t", numbered(1, 1)...)
	begun, canceled := make(chan struct{}), make(chan struct{})
	_, stop := goConsume(t, cfg, "g", []string{"t"}, funcHandler(func(ctx context.Context, _ int, _ []*message.Message) error {
		close(begun)
		<-ctx.Done()
		close(canceled)
		return ctx.Err()
	}))
	<-begun
	start := time.Now()
	stop()
	<-canceled
	if took := time.Since(start); took < 200*time.Millisecond || took > 3*time.Second {
		t.Errorf("the drain took %v", took)
	}
}
