package bus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"

	"github.com/agentos-kernel/agentos/libs/fault"
)

var _ message.Publisher = (*Publisher)(nil)

// Publisher writes messages and waits for all in-sync replicas to have them. It batches nothing
// over calls: what makes it fast is many messages in one call. Safe for concurrent use.
type Publisher struct {
	cfg  Config
	link *link
	ctx  context.Context //nolint:containedctx // its life is the publisher's: it ends calls Close waits for in vain
	stop context.CancelFunc

	mu     sync.Mutex
	closed bool
	active sync.WaitGroup
	counts map[string]int // partitions by topic; a topic's count never changes
}

// NewPublisher checks the configuration; it does not connect. Errors: fault.Invalid.
func NewPublisher(cfg Config) (*Publisher, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.validate("bus.new_publisher"); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // it ends with Close
	return &Publisher{cfg: cfg, link: newLink(cfg), ctx: ctx, stop: stop, counts: map[string]int{}}, nil
}

// Publish is PublishContext with no other bound than Config.RetryTime. The contexts of the messages
// play no part: they often end before the message that was derived from them may be dropped.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	return p.PublishContext(context.Background(), topic, messages...) //nolint:forbidigo // Watermill's interface has no context
}

// PublishContext writes the messages to a topic and returns when the broker has acknowledged all.
// Messages of one key keep their order within a call; partitions are written in parallel.
//
// What may pass is retried for Config.RetryTime: fault.Unavailable after that. Fault.Invalid
// (message too large, bad topic), fault.Denied and fault.Canceled are returned at once, as is any
// call after Close. After an error some of the messages may have been written, and a retry after a
// lost acknowledgment writes a message twice.
func (p *Publisher) PublishContext(ctx context.Context, topic string, messages ...*message.Message) error {
	const op = "bus.publish"
	if !p.enter() {
		return fault.New(fault.Invalid, op, "the publisher is closed")
	}
	defer p.active.Done()
	if len(messages) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.RetryTime)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)() //nolint:contextcheck // the call ends with the publisher, too
	n, err := p.partitions(ctx, topic)
	if err != nil {
		return err
	}
	return p.produceAll(ctx, topic, split(messages, n))
}

func (p *Publisher) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.active.Add(1)
	return true
}

// partitions is the topic's partition count.
func (p *Publisher) partitions(ctx context.Context, topic string) (int, error) {
	p.mu.Lock()
	n := p.counts[topic]
	p.mu.Unlock()
	if n > 0 {
		return n, nil
	}
	err := retry(ctx, "bus.publish", "cannot find topic "+topic, p.link, func(ctx context.Context) error {
		counts, err := partitionCounts(ctx, p.link, []string{topic})
		n = counts[topic]
		return err
	})
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[topic] = n
	return n, nil
}

// keyed is a message with its key, which may be random and so is drawn once.
type keyed struct {
	key string
	msg *message.Message
}

// split sorts the messages by partition and keeps their order.
func split(messages []*message.Message, n int) map[int][]keyed {
	parts := make(map[int][]keyed, min(n, len(messages)))
	for _, m := range messages {
		k := keyOf(m)
		i := Partition(k, n)
		parts[i] = append(parts[i], keyed{k, m})
	}
	return parts
}

func (p *Publisher) produceAll(ctx context.Context, topic string, parts map[int][]keyed) error {
	if len(parts) == 1 {
		for i, msgs := range parts {
			return p.producePartition(ctx, topic, i, msgs)
		}
	}
	errs := make(chan error, len(parts))
	for i, msgs := range parts {
		go func() { errs <- p.producePartition(ctx, topic, i, msgs) }()
	}
	var all []error
	for range parts {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// producePartition writes one partition's messages, one request after the other.
func (p *Publisher) producePartition(ctx context.Context, topic string, partition int, msgs []keyed) error {
	for len(msgs) > 0 {
		n := fitting(msgs, p.cfg.BatchBytes)
		err := retry(ctx, "bus.publish", "cannot write to topic "+topic, p.link, func(ctx context.Context) error {
			return p.produce(ctx, topic, partition, msgs[:n])
		})
		if err != nil {
			return err
		}
		msgs = msgs[n:]
	}
	return nil
}

// fitting is how many messages go into a request of limit bytes; at least one.
func fitting(msgs []keyed, limit int) int {
	size := 0
	for i, m := range msgs {
		size += sizeOf(m.msg) + len(m.key)
		if size > limit {
			return max(i, 1)
		}
	}
	return len(msgs)
}

func (p *Publisher) produce(ctx context.Context, topic string, partition int, msgs []keyed) error {
	records := make([]kafka.Record, len(msgs))
	for i, m := range msgs {
		records[i] = encode(m.key, m.msg)
	}
	res, err := p.link.client.Produce(ctx, &kafka.ProduceRequest{
		Topic: topic, Partition: partition, RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(records...),
	})
	if err != nil {
		return err
	}
	return res.Error
}

// Ping makes one round trip to a broker, for readiness checks, and returns fault.Unavailable, or
// fault.Canceled, if that fails. It tries twice, since a broker's restart leaves dead connections
// behind, and each try ends after Config.RequestTimeout.
func (p *Publisher) Ping(ctx context.Context) error {
	const op = "bus.ping"
	if !p.enter() {
		return fault.New(fault.Unavailable, op, "the publisher is closed")
	}
	defer p.active.Done()
	err := p.roundTrip(ctx)
	if err != nil {
		p.link.refresh()
		err = p.roundTrip(ctx)
	}
	if err != nil {
		return fault.Wrap(kindOf(err), op, "no broker answers", err)
	}
	return nil
}

func (p *Publisher) roundTrip(ctx context.Context) error {
	// Not a metadata request: the transport would answer it from its cache with no broker there.
	res, err := p.link.client.ApiVersions(ctx, &kafka.ApiVersionsRequest{})
	if err != nil {
		return err
	}
	return res.Error
}

// Close lets running calls finish for up to Config.GraceTime and refuses new ones. It returns nil,
// also the second time.
func (p *Publisher) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	p.mu.Unlock()
	if !first {
		p.active.Wait()
		return nil
	}
	defer afterGrace(p.cfg.GraceTime, p.stop)()
	p.active.Wait()
	p.stop()
	p.link.close()
	return nil
}

// afterGrace calls f once d has passed, unless the returned function is called before.
func afterGrace(d time.Duration, f func()) (stop func()) {
	t := time.AfterFunc(d, f)
	return func() { t.Stop() }
}
