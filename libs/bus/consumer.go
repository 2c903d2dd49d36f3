package bus

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// Handler takes the messages of a Consumer.
type Handler interface {
	// Assigned is called for a new generation that owns at least one shard, before its first
	// batch. ctx ends with the generation. After an error it is called again.
	Assigned(ctx context.Context, shards []int) error

	// Handle works on the messages of one shard: partition `shard` of all topics, in offset order
	// per topic. After nil their offsets may be committed; Ack and Nack mean nothing. After an
	// error the same messages come again, as fresh copies, after 50 ms to 2 s, for ever. Shards are
	// handled in parallel, one batch of a shard at a time. The messages must not be changed.
	//
	// ctx outlives the end of Run by Config.GraceTime, and the loss of a shard by half of
	// Config.RebalanceTimeout.
	Handle(ctx context.Context, shard int, messages []*message.Message) error

	// Revoked is called at the end of a generation, after its last batch and its last commit.
	Revoked(shards []int)
}

// Consumer is one member of a group that reads all its topics in shards.
//
// A member that was paused, or whose Handle outlasts a rebalance, may handle a shard at the same
// time as its new owner: until its next heartbeat fails (HeartbeatInterval) and its context ends
// (half of RebalanceTimeout). The handler's own store must refuse the second writer.
//
// All members of a group must be given the same topics; during a change of the list the partitions
// of one shard may lie with two members.
type Consumer struct {
	eng     *engine
	topics  []string
	running atomic.Bool
}

// NewConsumer checks the configuration; it does not connect. Errors: fault.Invalid.
func NewConsumer(cfg Config, group string, topics []string, h Handler) (*Consumer, error) {
	const op = "bus.new_consumer"
	cfg = cfg.WithDefaults()
	if err := cfg.validate(op); err != nil {
		return nil, err
	}
	if group == "" || len(topics) == 0 || h == nil {
		return nil, fault.New(fault.Invalid, op, "a consumer needs a group, at least one topic and a handler")
	}
	e := newEngine(cfg, nil, group)
	e.assigned, e.revoked = h.Assigned, h.Revoked
	e.process = func(work context.Context, s *shard, b *batch, again bool) error {
		if err := h.Handle(work, s.id, b.messages(again)); err != nil {
			return err
		}
		b.advance(len(b.items))
		return nil
	}
	topics = slices.Clone(topics)
	slices.Sort(topics)
	return &Consumer{eng: e, topics: slices.Compact(topics)}, nil
}

// Run joins the group and handles messages until ctx ends, and then returns nil: fetching stops at
// once, a running Handle may finish for up to Config.GraceTime, its offsets are committed and the
// member leaves. Brokers that are away are waited for. It may be called once.
//
// Errors: fault.Invalid if the topics differ in their partition count, the broker refuses the
// session time, or Run is called twice; fault.Denied without the rights.
func (c *Consumer) Run(ctx context.Context) error {
	if c.running.Swap(true) {
		return fault.New(fault.Invalid, "bus.consume", "Run was called twice")
	}
	l := newLink(c.eng.cfg)
	defer l.close()
	c.eng.link = l
	counts, err := awaitTopics(ctx, c.eng.cfg, l, c.topics)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	if err := sameCount(counts); err != nil {
		return err
	}
	return c.eng.runGroup(ctx, context.WithoutCancel(ctx), c.topics)
}

// Stats is a snapshot of the consumer's counters. Safe for concurrent use.
func (c *Consumer) Stats() Stats { return c.eng.stats() }
