// Package stream tells waiting clients that something happened to a process. It reads the topics
// without a consumer group, so that every replica of the ingress hears everything; what it hears only
// wakes, the events themselves are read from the event store.
package stream

import (
	"context"
	"strconv"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/eventstore"
)

// Hub connects the topics to the clients. Safe for concurrent use.
type Hub struct {
	db eventstore.Querier

	mu   sync.Mutex
	subs map[string]map[*Subscription]struct{} // by pid

	markMu sync.Mutex
	mark   eventstore.Watermark
}

// New makes a hub that reads from db.
func New(db eventstore.Querier) *Hub {
	return &Hub{db: db, subs: map[string]map[*Subscription]struct{}{}}
}

// deltasBuffered bounds what a slow client may leave unread; past it the client is told to start over.
const deltasBuffered = 512

// Delta is one piece of model output as the gateway sent it.
type Delta struct{ Payload []byte }

// Subscription is one client's ear.
type Subscription struct {
	Wake   chan struct{} // something happened to the process
	Deltas chan Delta

	hub    *Hub
	pid    string
	mu     sync.Mutex
	target int64 // highest position heard of
	lagged bool
}

// Subscribe listens for a process until Close.
func (h *Hub) Subscribe(pid string) *Subscription {
	s := &Subscription{Wake: make(chan struct{}, 1), Deltas: make(chan Delta, deltasBuffered), hub: h, pid: pid}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs[pid] == nil {
		h.subs[pid] = map[*Subscription]struct{}{}
	}
	h.subs[pid][s] = struct{}{}
	return s
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	delete(s.hub.subs[s.pid], s)
	if len(s.hub.subs[s.pid]) == 0 {
		delete(s.hub.subs, s.pid)
	}
}

// Target is the highest position heard of so far.
func (s *Subscription) Target() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.target
}

// Lagged reports, once, that deltas were dropped because the client did not read them.
func (s *Subscription) Lagged() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.lagged
	s.lagged = false
	return was
}

// Run listens until ctx ends.
func (h *Hub) Run(ctx context.Context, cfg bus.Config) error {
	topics := []string{
		events.Agent.Topic(), events.Context.Topic(), events.LLM.Topic(), events.Tool.Topic(), events.DeltasTopic,
	}
	return bus.Tail(ctx, cfg, topics, bus.Newest, h.hear)
}

func (h *Hub) hear(m *message.Message) {
	pid := m.Metadata[bus.KeyMetadata]
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs[pid] {
		if bus.MessageTopic(m.Context()) == events.DeltasTopic {
			s.delta(m.Payload)
			continue
		}
		pos, err := strconv.ParseInt(m.Metadata["ce_position"], 10, 64)
		if err == nil {
			s.wake(pos)
		}
	}
}

func (s *Subscription) wake(pos int64) {
	s.mu.Lock()
	s.target = max(s.target, pos)
	s.mu.Unlock()
	select {
	case s.Wake <- struct{}{}:
	default:
	}
}

func (s *Subscription) delta(payload []byte) {
	select {
	case s.Deltas <- Delta{payload}:
	default:
		s.mu.Lock()
		s.lagged = true
		s.mu.Unlock()
	}
}

// Safe is the position up to which events can be read without missing one that commits late.
func (h *Hub) Safe(ctx context.Context) (int64, error) {
	h.markMu.Lock()
	defer h.markMu.Unlock()
	return h.mark.Advance(ctx, h.db)
}
