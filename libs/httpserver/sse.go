package httpserver

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const (
	drainKey  = "agentos.drain"
	streamKey = "agentos.stream"

	// EventStream is the media type of server-sent events.
	EventStream = "text/event-stream"

	heartbeatEvery = 15 * time.Second
	writeTimeout   = 30 * time.Second // one event to a client that does not read
)

// WantsStream reports whether the caller asks for server-sent events rather than JSON.
func WantsStream(c echo.Context) bool {
	for accept := range strings.SplitSeq(c.Request().Header.Get(echo.HeaderAccept), ",") {
		media, _, _ := strings.Cut(accept, ";")
		if strings.EqualFold(strings.TrimSpace(media), EventStream) {
			return true
		}
	}
	return false
}

// Stream sends server-sent events to one client. It is safe for concurrent use.
type Stream struct {
	ctx    context.Context //nolint:containedctx // the stream is the request's life, not a value kept beyond it
	cancel context.CancelFunc
	beat   sync.WaitGroup

	mu  sync.Mutex // orders writes
	w   http.ResponseWriter
	rc  *http.ResponseController
	buf bytes.Buffer
}

// SSE begins a stream: the status and the headers are sent. The caller sends with Event until Done
// and always closes the stream before its handler returns.
func SSE(c echo.Context) (*Stream, error) { return newStream(c, heartbeatEvery) }

func newStream(c echo.Context, heartbeat time.Duration) (*Stream, error) {
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, EventStream)
	h.Set(echo.HeaderCacheControl, "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy must not hold events back
	c.Response().WriteHeader(http.StatusOK)
	c.Set(streamKey, true)

	ctx, cancel := context.WithCancel(c.Request().Context())
	s := &Stream{ctx: ctx, cancel: cancel, w: c.Response(), rc: http.NewResponseController(c.Response().Writer)}
	if err := s.write([]byte(": hello\n\n")); err != nil {
		cancel()
		return nil, err
	}
	draining, _ := c.Get(drainKey).(chan struct{})
	s.beat.Go(func() { s.keepAlive(heartbeat, draining) })
	return s, nil
}

// Done is closed when the client has gone or the server stops: nothing need be sent any more.
func (s *Stream) Done() <-chan struct{} { return s.ctx.Done() }

// Event sends one event. An empty id or event name is left out; neither may hold a line break. Data
// may hold any: the client sees them again. After Done, or when the client is gone, it fails with
// kind Canceled.
func (s *Stream) Event(id, event string, data []byte) error {
	const op = "httpserver.sse"
	if strings.ContainsAny(id, "\r\n\x00") || strings.ContainsAny(event, "\r\n") {
		return fault.Newf(fault.Internal, op, "id or name of an event holds a line break")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Reset()
	if id != "" {
		s.buf.WriteString("id: " + id + "\n")
	}
	if event != "" {
		s.buf.WriteString("event: " + event + "\n")
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		s.buf.WriteString("data: ")
		s.buf.Write(bytes.TrimSuffix(line, []byte("\r")))
		s.buf.WriteByte('\n')
	}
	s.buf.WriteByte('\n')
	return s.writeLocked(s.buf.Bytes())
}

// Close ends the stream and waits for its heartbeat. It may be called more than once.
func (s *Stream) Close() {
	s.cancel()
	s.beat.Wait()
}

// keepAlive sends a comment now and then, so that proxies keep the connection and a client that went
// without a word is noticed.
func (s *Stream) keepAlive(every time.Duration, draining <-chan struct{}) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-draining: // nil in a handler test: blocks for ever
			s.cancel()
			return
		case <-ticker.C:
			if s.write([]byte(": alive\n\n")) != nil {
				return
			}
		}
	}
}

func (s *Stream) write(frame []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeLocked(frame)
}

func (s *Stream) writeLocked(frame []byte) error {
	const op = "httpserver.sse"
	if err := s.ctx.Err(); err != nil {
		return fault.Wrap(fault.Canceled, op, "the stream has ended", err)
	}
	// A recorder in a test has no deadlines; a connection always has.
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := s.w.Write(frame)
	if err == nil {
		err = s.rc.Flush()
	}
	if err != nil {
		s.cancel()
		return fault.Wrap(fault.Canceled, op, "the client has gone", err)
	}
	return nil
}

// streamed reports whether the request was answered with a stream.
func streamed(c echo.Context) bool {
	yes, _ := c.Get(streamKey).(bool)
	return yes
}
