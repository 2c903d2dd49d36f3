package bus

import (
	"context"
	"errors"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// runGroup reads topics as a member of the engine's group until ctx ends; parent is as for serve.
func (e *engine) runGroup(ctx, parent context.Context, topics []string) error {
	conns := newConnSet()
	defer conns.close()
	group, err := kafka.NewConsumerGroup(e.groupConfig(topics, conns))
	if err != nil {
		return fault.Wrap(fault.Invalid, "bus.join", "bad group configuration", err)
	}
	defer e.leave(group, conns)
	var j judge
	var failing time.Time // since when; zero while all is well
	for ctx.Err() == nil {
		gen, err := group.Next(ctx)
		if err != nil {
			if failing.IsZero() {
				failing = time.Now()
			}
			if fatal := e.joinError(ctx, &j, failing, err); fatal != nil {
				return fatal
			}
			continue
		}
		j, failing = judge{}, time.Time{}
		e.runGeneration(ctx, parent, gen)
	}
	return nil
}

// joinError is nil for what passes by itself. kafka-go pauses for JoinBackoff before it tries again.
func (e *engine) joinError(ctx context.Context, j *judge, since time.Time, err error) error {
	if ctx.Err() != nil || errors.Is(err, kafka.ErrGroupClosed) {
		return nil //nolint:nilerr // the end of ctx is how Run is meant to end
	}
	if k, final := j.final(err); final {
		return fault.Wrap(k, "bus.join", "cannot join group "+e.group, err).WithFix(fixOf(err))
	}
	e.log.Log(ctx, e.trouble.level(since), "joining the group failed, trying again", "group", e.group, "since", since, "error", err)
	return nil
}

// runGeneration serves one generation. The function given to Start must outlive serve until the
// generation ends: its return would end the generation, and on a shutdown kafka-go would join
// again before it is told to leave.
func (e *engine) runGeneration(ctx, parent context.Context, gen *kafka.Generation) {
	served := make(chan struct{})
	gen.Start(func(gctx context.Context) {
		e.serve(ctx, parent, assignmentOf(gen), gctx.Done())
		close(served)
		<-gctx.Done()
	})
	<-served
}

func assignmentOf(gen *kafka.Generation) assignment {
	a := assignment{generation: gen.ID, shards: map[int][]start{}, commit: gen.CommitOffsets}
	for topic, parts := range gen.Assignments {
		for _, p := range parts {
			a.shards[p.ID] = append(a.shards[p.ID], start{topic: topic, offset: p.Offset})
		}
	}
	return a
}

// leave ends the membership. It waits for a join under way, since a member that just vanishes
// holds up the others for RebalanceTimeout, but not for ever.
func (e *engine) leave(group *kafka.ConsumerGroup, conns *connSet) {
	left := make(chan struct{})
	go func() {
		defer close(left)
		_ = group.Close() // always nil
	}()
	t := time.NewTimer(e.cfg.RebalanceTimeout + e.cfg.SessionTimeout)
	defer t.Stop()
	select {
	case <-left:
	case <-t.C:
		conns.close()
		<-left
	}
}

func (e *engine) groupConfig(topics []string, conns *connSet) kafka.ConsumerGroupConfig {
	return kafka.ConsumerGroupConfig{
		ID:      e.group,
		Brokers: e.cfg.Brokers,
		Topics:  topics,
		Dialer: &kafka.Dialer{
			ClientID: e.cfg.ClientID, DialFunc: conns.dial, Timeout: dialTimeout,
			TLS: e.cfg.TLS, SASLMechanism: e.cfg.SASL,
		},
		GroupBalancers:    []kafka.GroupBalancer{shardBalancer{}},
		HeartbeatInterval: e.cfg.HeartbeatInterval,
		SessionTimeout:    e.cfg.SessionTimeout,
		RebalanceTimeout:  e.cfg.RebalanceTimeout,
		JoinGroupBackoff:  e.cfg.JoinBackoff,
		StartOffset:       kafka.FirstOffset,
		Timeout:           e.cfg.SessionTimeout,
	}
}

// runAlone reads all partitions of topics from an offset, without a group, until ctx ends.
func (e *engine) runAlone(ctx, parent context.Context, counts map[string]int, from int64) {
	a := assignment{shards: map[int][]start{}}
	for topic, n := range counts {
		for p := range n {
			a.shards[p] = append(a.shards[p], start{topic: topic, offset: from})
		}
	}
	e.serve(ctx, parent, a, nil)
}
