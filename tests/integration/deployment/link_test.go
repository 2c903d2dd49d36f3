package deployment

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/agentos-kernel/agentos/libs/embedded"
)

// wire is what runs between a replica and the others. While it is cut everything sent is held back, as
// packets are sent again until the network is there again; nobody is told.
type wire struct {
	mu     sync.Mutex
	mended chan struct{} // closed when what is sent arrives
}

func newWire() *wire {
	w := &wire{mended: make(chan struct{})}
	close(w.mended)
	return w
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mended = make(chan struct{})
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.mended)
}

// pass waits until the wire is whole; false when ctx ends first.
func (w *wire) pass(ctx context.Context) bool {
	w.mu.Lock()
	mended := w.mended
	w.mu.Unlock()
	select {
	case <-mended:
		return true
	case <-ctx.Done():
		return false
	}
}

// way is one place a proxy may send a connection to.
type way struct {
	addr string
	wire *wire
}

// proxy passes TCP connections on.
type proxy struct {
	addr     string
	listener net.Listener
	ctx      context.Context //nolint:containedctx // the life of the listener and of all it has accepted
	// ways are where the next connection may go, the first choice first.
	ways func() []way
	// answers copies what comes back; nil: as it is.
	answers func(p *proxy, dst io.Writer, src io.Reader, sent *requests) error
}

// newProxy listens on a free port of loopback until the test ends.
func newProxy(t testing.TB, ways func() []way) *proxy {
	t.Helper()
	port, err := embedded.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = l.Close() // nobody waits for it any more
	})
	p := &proxy{addr: l.Addr().String(), listener: l, ctx: ctx, ways: ways}
	go p.serve()
	return p
}

func (p *proxy) serve() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // closed with the test
		}
		go p.carry(conn)
	}
}

// carry takes one connection to the first way that answers, until one side ends it.
func (p *proxy) carry(from net.Conn) {
	defer func() { _ = from.Close() }()
	for _, w := range p.ways() {
		if !w.wire.pass(p.ctx) {
			return
		}
		var d net.Dialer
		to, err := d.DialContext(p.ctx, "tcp", w.addr)
		if err != nil {
			continue
		}
		p.join(from, to, w.wire)
		return
	}
}

func (p *proxy) join(from, to net.Conn, w *wire) {
	ctx, cancel := context.WithCancel(p.ctx)
	stop := context.AfterFunc(ctx, func() { _ = from.Close(); _ = to.Close() })
	defer stop()
	defer cancel()
	sent := &requests{}
	var both sync.WaitGroup
	both.Go(func() {
		defer cancel()
		var src io.Reader = from
		if p.answers != nil {
			src = sent.read(from)
		}
		_, _ = io.Copy(held{ctx, w, to}, src) // ends with the connection
		_ = w.pass(ctx)
	})
	both.Go(func() {
		defer cancel()
		if p.answers != nil {
			_ = p.answers(p, held{ctx, w, from}, to, sent) // ends with the connection
		} else {
			_, _ = io.Copy(held{ctx, w, from}, to) // ends with the connection
		}
		_ = w.pass(ctx)
	})
	both.Wait()
}

// held writes to dst what the wire lets through.
type held struct {
	ctx  context.Context //nolint:containedctx // the connection's life
	wire *wire
	dst  io.Writer
}

// Write implements io.Writer.
func (h held) Write(b []byte) (int, error) {
	if !h.wire.pass(h.ctx) {
		return 0, h.ctx.Err()
	}
	return h.dst.Write(b)
}
