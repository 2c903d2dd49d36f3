package bus

import (
	"context"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"

	"github.com/agentos-kernel/agentos/libs/fault"
)

var (
	_ message.Subscriber           = (*Subscriber)(nil)
	_ message.SubscribeInitializer = (*Subscriber)(nil)
)

// Subscriber is Watermill's subscriber: one un-acked message at a time per partition, partitions in
// parallel. A nacked message comes again as a fresh copy after Config.NackDelay.
type Subscriber struct {
	cfg   Config
	group string
	link  *link
	ctx   context.Context //nolint:containedctx // its life is the subscriber's: it ends with Close
	stop  context.CancelFunc

	mu     sync.Mutex
	closed bool
	active sync.WaitGroup
}

// NewSubscriber checks the configuration; it does not connect. With a group, subscriptions of the
// group share the messages and go on where the group stopped. With group "" each subscription gets
// all messages from the oldest. Errors: fault.Invalid.
func NewSubscriber(cfg Config, group string) (*Subscriber, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.validate("bus.new_subscriber"); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // it ends with Close
	return &Subscriber{cfg: cfg, group: group, link: newLink(cfg), ctx: ctx, stop: stop}, nil
}

// SubscribeInitialize creates the topic with Config.Partitions partitions unless it exists; the
// count of an existing topic is up to whoever created it. Errors: as EnsureTopics.
func (s *Subscriber) SubscribeInitialize(topic string) error {
	if !s.enter() {
		return fault.New(fault.Invalid, "bus.subscribe_initialize", "the subscriber is closed")
	}
	defer s.active.Done()
	_, err := makeTopics(s.ctx, s.cfg, s.link, []TopicSpec{{Name: topic, Partitions: s.cfg.Partitions}})
	return err
}

// Subscribe reads a topic until ctx ends or Close is called, and then closes the channel. It waits
// in the background for a topic or a broker that is not there. The context of a message derives
// from ctx and ends with its Ack or Nack. When ctx ends, messages not acked yet are given up at
// once; on Close they have Config.GraceTime.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if !s.enter() {
		return nil, fault.New(fault.Invalid, "bus.subscribe", "the subscriber is closed")
	}
	run, cancel := context.WithCancel(ctx)
	undo := context.AfterFunc(s.ctx, cancel) //nolint:contextcheck // it ends with the subscriber, too
	out := make(chan *message.Message)
	go func() {
		defer s.active.Done()
		defer close(out)
		defer undo()
		defer cancel()
		s.run(ctx, run, topic, out)
	}()
	return out, nil
}

// run reads until run ends; ctx, its parent, is that of the messages.
func (s *Subscriber) run(ctx, run context.Context, topic string, out chan<- *message.Message) {
	e := newEngine(s.cfg, s.link, s.group)
	e.process = func(work context.Context, sh *shard, b *batch, _ bool) error {
		return s.handOut(work, sh, b, out)
	}
	counts, err := awaitTopics(run, s.cfg, s.link, []string{topic})
	if err == nil && s.group == "" {
		e.runAlone(run, ctx, counts, kafka.FirstOffset)
	} else if err == nil {
		err = e.runGroup(run, ctx, []string{topic})
	}
	if err != nil && run.Err() == nil {
		s.cfg.Logger.ErrorContext(run, "subscription ended", "topic", topic, "group", s.group, "error", err)
	}
}

// handOut sends the batch's messages one by one, each until it is acked.
func (s *Subscriber) handOut(work context.Context, sh *shard, b *batch, out chan<- *message.Message) error {
	for i, it := range b.items {
		parent := it.msg.Context()
		for msg := it.msg; !deliver(work, parent, sh.stop, msg, out); msg = it.msg.Copy() {
			if !sleep(s.cfg.NackDelay, sh.stop, work.Done()) {
				return errStopped
			}
			sh.redeliveries.Add(1)
		}
		b.advance(i + 1)
	}
	return nil
}

// deliver sends one message and reports whether it was acked.
func deliver(work, parent context.Context, stop <-chan struct{}, msg *message.Message, out chan<- *message.Message) bool {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	msg.SetContext(ctx)
	select {
	case out <- msg:
	case <-stop:
		return false
	}
	select {
	case <-msg.Acked():
		return true
	case <-msg.Nacked():
		return false
	case <-work.Done():
		return false
	}
}

func (s *Subscriber) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.active.Add(1)
	return true
}

// Close ends all subscriptions, giving messages not acked yet Config.GraceTime, and returns when
// their channels are closed. It returns nil, also the second time.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.active.Wait()
	s.link.close()
	return nil
}
