package handle

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/runqueue"
)

// Steps measures the steps that begin and end on this replica.
type Steps struct {
	took  prometheus.Observer
	mu    sync.Mutex
	begun map[runqueue.Key]time.Time
}

// NewSteps tells took the seconds of each step.
func NewSteps(took prometheus.Observer) *Steps {
	return &Steps{took: took, begun: map[runqueue.Key]time.Time{}}
}

// Forget drops the steps that have begun: after a new assignment others may end them.
func (s *Steps) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.begun)
}

// watch notes when the grant of a step is committed, and its end.
func (s *Steps) watch(u *service.Unit, key runqueue.Key, e events.Event) {
	switch e.(type) {
	case agent.StepGranted:
		u.AfterCommit(func() { s.begin(key, time.Now()) })
	case agent.StepSettled, agent.Completed, agent.Failed, agent.Terminated:
		u.AfterCommit(func() { s.end(key, time.Now()) })
	}
}

func (s *Steps) begin(key runqueue.Key, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun[key] = at
}

func (s *Steps) end(key runqueue.Key, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if begun, ok := s.begun[key]; ok {
		delete(s.begun, key)
		s.took.Observe(at.Sub(begun).Seconds())
	}
}
