package kafka

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/agentos-kernel/agentos/libs/bus"
)

// listener is one member of a group that keeps account of what it hears: each message once, in the order
// of its key.
type listener struct {
	consumer *bus.Consumer
	stop     func()

	mu    sync.Mutex
	next  map[string]int // by key
	wrong []string
	n     int
	last  time.Time // when a message was last handled
}

// newListener joins the group named after the topic.
func newListener(tb testing.TB, cfg bus.Config, topic string) *listener {
	tb.Helper()
	l := &listener{next: map[string]int{}}
	var err error
	if l.consumer, err = bus.NewConsumer(cfg, "group-"+topic, []string{topic}, l); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	ended := make(chan error, 1)
	go func() { ended <- l.consumer.Run(ctx) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("consumer: %v", err)
		}
	})
	tb.Cleanup(l.stop)
	return l
}

// Assigned implements bus.Handler.
func (*listener) Assigned(context.Context, []int) error { return nil }

// Revoked implements bus.Handler.
func (*listener) Revoked([]int) {}

// Handle implements bus.Handler. A message that was seen is dropped, as the kernel drops it by its version;
// one that comes too early was overtaken, or the one before it is lost.
func (l *listener) Handle(_ context.Context, _ int, msgs []*message.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range msgs {
		key := m.Metadata.Get(bus.KeyMetadata)
		i, err := strconv.Atoi(string(m.Payload))
		switch {
		case err != nil || i > l.next[key]:
			l.wrong = append(l.wrong, fmt.Sprintf("%s: message %s came, %d is next", key, m.Payload, l.next[key]))
			l.next[key] = i + 1
			l.n++
		case i == l.next[key]:
			l.next[key]++
			l.n++
		}
	}
	l.last = time.Now()
	return nil
}

func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// check fails the test for what was lost or came out of order.
func (l *listener) check(tb testing.TB) {
	tb.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.wrong {
		tb.Error(w)
	}
}

const keys = 10

// publish writes messages 0 to n-1, the keys taking turns.
func publish(tb testing.TB, cfg bus.Config, topic string, n int) {
	tb.Helper()
	p, err := bus.NewPublisher(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	msgs := make([]*message.Message, n)
	for i := range msgs {
		msgs[i] = numbered(i)
	}
	if err := p.Publish(topic, msgs...); err != nil {
		tb.Error(err)
	}
	if err := p.Close(); err != nil {
		tb.Error(err)
	}
}

// numbered is message i of all; its payload is its number among those of its key.
func numbered(i int) *message.Message {
	m := message.NewMessage(strconv.Itoa(i), message.Payload(strconv.Itoa(i/keys)))
	m.Metadata.Set(bus.KeyMetadata, "key-"+strconv.Itoa(i%keys))
	return m
}

// quiet collects what is logged at WARN and above.
type quiet struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (q *quiet) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.text.Write(p)
}

func (q *quiet) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(q, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// check fails the test if anything was logged.
func (q *quiet) check(tb testing.TB) {
	tb.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.text.Len() > 0 {
		tb.Errorf("logged at WARN or above:\n%s", &q.text)
	}
}
