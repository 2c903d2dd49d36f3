package calls

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
)

// Publish sends one message with token deltas; key is the pid.
type Publish func(ctx context.Context, topic, key string, payload []byte) error

// Delta is the JSON of a message on events.DeltasTopic: a piece of the text of one attempt.
type Delta struct {
	CallID  string `json:"call_id"`
	Step    int    `json:"step"`
	Attempt int    `json:"attempt"`
	Offset  int    `json:"offset"` // of Text in the attempt's text, in bytes
	Text    string `json:"text"`
	Reset   bool   `json:"reset"` // forget all text of this call: it begins again
}

// How pieces are put together: the first goes out at once, later ones after a pause or when they are
// many. One record per token would cost more than the token.
const (
	pause     = 30 * time.Millisecond
	manyBytes = 2 << 10
	// mostBytes is what is kept while the broker is away; then the piece is dropped and a reader sees
	// the gap by its offset. The whole text is in the event of the call.
	mostBytes = 64 << 10
	// publishers bounds the goroutines that publish; calls beyond are not streamed.
	publishers   = 1024
	publishLimit = 5 * time.Second
)

// deltas sends the text of running calls.
type deltas struct {
	publish Publish
	log     *slog.Logger
	slots   chan struct{}
}

func newDeltas(publish Publish, log *slog.Logger) *deltas {
	return &deltas{publish: publish, log: log, slots: make(chan struct{}, publishers)}
}

// stream is the text of one attempt on its way.
type stream struct {
	d    *deltas
	job  Job
	wake chan struct{}

	mu      sync.Mutex
	buf     []byte
	offset  int  // of buf in the text
	reset   bool // the next message says so
	running bool
	refused bool // no publisher was free
	closed  bool
}

func (d *deltas) open(j Job) *stream {
	return &stream{d: d, job: j, wake: make(chan struct{}, 1), reset: j.Call.Attempt > 1}
}

// add takes in a piece. It never blocks and never fails.
func (s *stream) add(p provider.Delta) {
	if s.d.publish == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Reset {
		s.buf, s.offset, s.reset = s.buf[:0], 0, true
	}
	if len(s.buf)+len(p.Text) > mostBytes {
		s.offset += len(s.buf)
		s.buf = s.buf[:0]
	}
	s.buf = append(s.buf, p.Text...)
	if s.refused || (len(s.buf) == 0 && !s.reset) {
		return
	}
	if !s.running {
		select {
		case s.d.slots <- struct{}{}:
			s.running = true
			go s.run()
		default:
			s.refused = true
		}
		return
	}
	s.signal()
}

func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// close sends what is left. It does not wait.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.signal()
}

// run publishes until the stream is closed and empty.
func (s *stream) run() {
	defer func() { <-s.d.slots }()
	for {
		if payload := s.take(); payload != nil {
			s.send(payload)
		}
		if s.settle() {
			return
		}
	}
}

// settle waits until there is reason to send again; it reports whether there will be none.
func (s *stream) settle() (over bool) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	paused := false
	for {
		s.mu.Lock()
		size, closed := len(s.buf), s.closed
		s.mu.Unlock()
		switch {
		case closed:
			return size == 0
		case size >= manyBytes, paused && size > 0:
			return false
		}
		select {
		case <-s.wake:
		case <-timer.C:
			paused = true
		}
	}
}

func (s *stream) take() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.buf) == 0 {
		return nil
	}
	payload, err := events.Encode(Delta{
		CallID: s.job.Call.ID, Step: s.job.Call.Step, Attempt: s.job.Call.Attempt, Offset: s.offset, Text: string(s.buf), Reset: s.reset,
	})
	s.offset += len(s.buf)
	s.buf, s.reset = s.buf[:0], false
	if err != nil {
		return nil // strings and numbers: cannot fail
	}
	return payload
}

func (s *stream) send(payload []byte) {
	// The call's own context may have ended; its last words are sent all the same.
	ctx, cancel := context.WithTimeout(context.Background(), publishLimit) //nolint:forbidigo // see above
	defer cancel()
	if err := s.d.publish(ctx, events.DeltasTopic, s.job.PID, payload); err != nil {
		s.d.log.WarnContext(ctx, "token deltas not sent", "call_id", s.job.Call.ID, "error", err)
	}
}
