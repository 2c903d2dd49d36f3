package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/agentos-kernel/agentos/libs/bus"
)

// ledger is what a group's handlers share: what was handled, by message, and who handles each shard.
type ledger struct {
	mu      sync.Mutex
	seen    map[string]int
	holder  map[int]string
	overlap int
}

func newLedger() *ledger { return &ledger{seen: map[string]int{}, holder: map[int]string{}} }

func (l *ledger) enter(shard int, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder[shard] != "" {
		l.overlap++
	}
	l.holder[shard] = name
}

func (l *ledger) leave(shard int, msgs []*message.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder[shard] = ""
	for _, m := range msgs {
		l.seen[bus.MessageTopic(m.Context())+" "+m.UUID]++
	}
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen)
}

// handler works for about a millisecond per batch.
func (l *ledger) handler(name string) funcHandler {
	return func(_ context.Context, shard int, msgs []*message.Message) error {
		l.enter(shard, name)
		time.Sleep(time.Millisecond)
		l.leave(shard, msgs) //nolint:contextcheck // a message has its own
		return nil
	}
}

// publishUntil publishes batches to the topics until stop, and then returns how many messages.
func publishUntil(t *testing.T, p *bus.Publisher, topics []string, stop <-chan struct{}) int {
	t.Helper()
	total := 0
	for i := 0; ; i++ {
		select {
		case <-stop:
			return total
		default:
		}
		topic := topics[i%len(topics)]
		var msgs []*message.Message
		for j := range 20 {
			msgs = append(msgs, message.NewMessage(fmt.Sprintf("%d-%d", i, j), nil))
		}
		publish(t, p, topic, msgs...)
		total += len(msgs)
		time.Sleep(2 * time.Millisecond)
	}
}

func TestRebalanceUnderLoad(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	cfg.HeartbeatInterval = 50 * time.Millisecond
	topics := []string{"a", "b"}
	ensure(t, cfg, 8, topics...)
	p := newPublisher(t, cfg)
	l := newLedger()
	first, stopFirst := goConsume(t, cfg, "g", topics, l.handler("first"))
	end := make(chan struct{})
	total := make(chan int)
	go func() { total <- publishUntil(t, p, topics, end) }()
	eventually(t, "the first member", func() bool { return len(first.Stats().Shards) == 8 })

	second, stopSecond := goConsume(t, cfg, "g", topics, l.handler("second"))
	eventually(t, "the split", func() bool {
		return len(first.Stats().Shards) == 4 && len(second.Stats().Shards) == 4
	})
	time.Sleep(300 * time.Millisecond)
	stopFirst()
	eventually(t, "the take-over", func() bool { return len(second.Stats().Shards) == 8 })
	third, stopThird := goConsume(t, cfg, "g", topics, l.handler("third"))
	eventually(t, "the second split", func() bool { return len(third.Stats().Shards) == 4 })
	close(end)
	want := <-total
	eventually(t, "all messages", func() bool { return l.count() == want })
	stopSecond()
	stopThird()
	// Short Handles end before their shard moves, and then nothing overlaps or comes twice.
	if l.overlap != 0 {
		t.Errorf("%d batches were handled while another member held the shard", l.overlap)
	}
	twice := 0
	for _, n := range l.seen {
		twice += n - 1
	}
	if twice != 0 {
		t.Errorf("%d of %d messages came twice", twice, want)
	}
}

// A Handle that outlasts the rebalance loses its context; its shard is not handled by another
// goroutine of this process before it returned.
func TestSlowHandleAtRebalance(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	cfg.HeartbeatInterval, cfg.RebalanceTimeout = 50*time.Millisecond, 400*time.Millisecond
	ensure(t, cfg, 2, "t")
	publish(t, newPublisher(t, cfg), "t", numbered(20, 5)...)
	r := newRecorder(t)
	var stuck atomic.Int32
	r.work = func(ctx context.Context, shard int, _ []*message.Message) error {
		if shard == 0 && stuck.Add(1) == 1 {
			<-ctx.Done()
			time.Sleep(2500 * time.Millisecond) // ignores its context for a while
			return ctx.Err()
		}
		return nil
	}
	_, stop := goConsume(t, cfg, "g", []string{"t"}, r)
	eventually(t, "the Handle", func() bool { return stuck.Load() == 1 })
	// Another member comes and goes, so that the shard returns while the Handle still runs.
	other := newRecorder(t)
	c, stopOther := goConsume(t, cfg, "g", []string{"t"}, other)
	eventually(t, "the other member", func() bool { return len(c.Stats().Shards) > 0 })
	stopOther()
	eventually(t, "all messages", func() bool {
		seen := map[string]bool{}
		for _, rec := range []*recorder{r, other} {
			rec.mu.Lock()
			for id := range rec.seen {
				seen[id] = true
			}
			rec.next = map[string]int{} // the two share the stream, so neither sees all of it
			rec.mu.Unlock()
		}
		return len(seen) == 100
	})
	stop()
}

// A queue that is full for longer than any time-out must not lose what is read ahead.
func TestSlowHandlerLosesNothing(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	cfg.Window, cfg.MaxWait, cfg.RequestTimeout, cfg.StallTimeout = 4, 10*time.Millisecond, 20*time.Millisecond, 50*time.Millisecond
	ensure(t, cfg, 1, "t")
	cfgPub := cfg
	cfgPub.RequestTimeout = 5 * time.Second
	publish(t, newPublisher(t, cfgPub), "t", numbered(1, 60)...)
	r := newRecorder(t)
	r.work = func(context.Context, int, []*message.Message) error {
		time.Sleep(100 * time.Millisecond)
		return nil
	}
	c, stop := goConsume(t, cfg, "g", []string{"t"}, r)
	eventually(t, "all messages", func() bool {
		for _, s := range c.Stats().Shards {
			if p := s.Topics[0]; p.Fetched-p.Position > int64(3*cfg.Window) { // two windows wait, one is handled
				t.Errorf("read %d ahead", p.Fetched-p.Position)
			}
		}
		return r.count() == 60
	})
	stop()
	for id, n := range r.seen {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	proc := startProcess(t)
	cfg := testConfig(t, proc.port)
	topics := []string{"a", "b"}
	ensure(t, cfg, 4, topics...)
	p := newPublisher(t, cfg)
	l := newLedger()
	_, stop := goConsume(t, cfg, "g", topics, l.handler("one"))
	ctx, cancel := context.WithCancel(context.Background())
	tail := newLedger()
	tailed := make(chan error)
	go func() {
		tailed <- bus.Tail(ctx, cfg, topics, bus.Oldest, func(m *message.Message) { tail.leave(0, []*message.Message{m}) }) //nolint:contextcheck // a message has its own
	}()
	end := make(chan struct{})
	total := make(chan int)
	go func() { total <- publishUntil(t, p, topics, end) }()
	eventually(t, "the first messages", func() bool { return l.count() > 200 })
	for range 2 {
		proc.kill(t)
		time.Sleep(200 * time.Millisecond)
		before := l.count()
		start := time.Now()
		proc.start(t)
		eventually(t, "messages after the restart", func() bool { return l.count() > before+200 })
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("recovery took %v", took)
		} else {
			t.Logf("handling went on after %v", took)
		}
	}
	close(end)
	want := <-total
	eventually(t, "all messages", func() bool { return l.count() == want })
	eventually(t, "all messages at the tail", func() bool { return tail.count() == want })
	stop()
	cancel()
	if err := <-tailed; err != nil {
		t.Error(err)
	}
}

// deleteRecords removes everything before an offset, as retention does.
func deleteRecords(t *testing.T, cfg bus.Config, topic string, before int64) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rt.Topic, rp.Partition, rp.Offset = topic, 0, before
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	cl := franz(t, cfg)
	res, err := req.RequestWith(context.Background(), cl)
	if err != nil || res.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("delete records: %v %+v", err, res)
	}
}

func TestGapIsReportedAndSkipped(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	var mu sync.Mutex
	var gaps []bus.Gap
	cfg.OnGap = func(g bus.Gap) {
		mu.Lock()
		defer mu.Unlock()
		gaps = append(gaps, g)
	}
	ensure(t, cfg, 1, "t")
	p := newPublisher(t, cfg)
	publish(t, p, "t", numbered(1, 5)...)
	r := newRecorder(t)
	_, stop := goConsume(t, cfg, "g", []string{"t"}, r)
	eventually(t, "the first messages", func() bool { return r.count() == 5 })
	stop()
	publish(t, p, "t", numbered(1, 10)[5:]...)
	deleteRecords(t, cfg, "t", 10)

	for range 2 { // the second start finds no gap, though no message came since
		c, stop := goConsume(t, cfg, "g", []string{"t"}, r)
		eventually(t, "the skip", func() bool {
			st := c.Stats()
			return len(st.Shards) == 1 && st.Shards[0].Topics[0].Position == 10
		})
		stop()
	}
	r.next = map[string]int{"t key-0": 10}
	_, stop = goConsume(t, cfg, "g", []string{"t"}, r)
	publish(t, p, "t", numbered(1, 11)[10:]...)
	eventually(t, "the message after the gap", func() bool { return r.count() == 6 })
	stop()
	want := []bus.Gap{{Topic: "t", From: 5, To: 10}}
	if diff := cmp.Diff(want, gaps); diff != "" {
		t.Error(diff)
	}
}

// A broker that lost its tail has fewer messages than were read; what it has now is read again.
func TestLostTailIsReadAgain(t *testing.T) {
	t.Parallel()
	cfg := startBroker(t)
	ensure(t, cfg, 1, "t")
	publish(t, newPublisher(t, cfg), "t", numbered(1, 20)...)
	var got atomic.Int64
	c, stop := goConsume(t, cfg, "g", []string{"t"}, funcHandler(func(_ context.Context, _ int, msgs []*message.Message) error {
		got.Add(int64(len(msgs)))
		return nil
	}))
	eventually(t, "all messages", func() bool { return got.Load() == 20 })
	tr := &kafka.Transport{}
	defer tr.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Transport: tr}
	if _, err := client.DeleteTopics(t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{"t"}}); err != nil {
		t.Fatal(err)
	}
	ensure(t, cfg, 1, "t")
	publish(t, newPublisher(t, cfg), "t", numbered(1, 3)...)
	eventually(t, "the new messages", func() bool { return got.Load() == 23 })
	if st := c.Stats(); st.Gaps != 1 || st.Shards[0].Topics[0].Position != 3 {
		t.Errorf("stats %+v", st)
	}
	stop()
}

// A broker that takes polls and never answers them.
func TestWatchdogStartsAStalledLoopAnew(t *testing.T) {
	t.Parallel()
	cfg, cluster := startCluster(t)
	cfg.StallTimeout, cfg.MaxWait = 500*time.Millisecond, 100*time.Millisecond
	ensure(t, cfg, 1, "t")
	var swallow atomic.Bool
	cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, nil, swallow.Load()
	})
	r := newRecorder(t)
	c, stop := goConsume(t, cfg, "g", []string{"t"}, r)
	eventually(t, "the polls", func() bool { return len(c.Stats().Shards) == 1 })
	swallow.Store(true)
	publish(t, newPublisher(t, cfg), "t", numbered(1, 1)...)
	eventually(t, "the watchdog", func() bool { return c.Stats().Restarts > 0 })
	swallow.Store(false)
	start := time.Now()
	eventually(t, "the message", func() bool { return r.count() == 1 })
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("went on after %v", took)
	}
	stop()
}

// Commits that fail bring messages again, and lose none.
func TestCrashBeforeCommit(t *testing.T) {
	t.Parallel()
	cfg, cluster := startCluster(t)
	ensure(t, cfg, 1, "t")
	publish(t, newPublisher(t, cfg), "t", numbered(1, 10)...)
	var refuse atomic.Bool
	refuse.Store(true)
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if refuse.Load() {
			return nil, errors.New("the connection breaks"), true
		}
		return nil, nil, false
	})
	for range 2 {
		r := newRecorder(t)
		_, stop := goConsume(t, cfg, "g", []string{"t"}, r)
		eventually(t, "all messages", func() bool { return r.count() == 10 })
		stop()
	}
	refuse.Store(false)
}

func TestLeaderMoves(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.GroupMinSessionTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cfg := testConfig(t, 1)
	cfg.Brokers = cluster.ListenAddrs()
	ensure(t, cfg, 6, "t")
	p := newPublisher(t, cfg)
	r := newRecorder(t)
	_, stop := goConsume(t, cfg, "g", []string{"t"}, r)
	msgs := numbered(10, 100)
	for i := 0; i < len(msgs); i += 50 {
		publish(t, p, "t", msgs[i:i+50]...)
		if i%200 == 0 {
			cluster.ShufflePartitionLeaders()
		}
	}
	eventually(t, "all messages", func() bool { return r.count() == len(msgs) })
	stop()
}
