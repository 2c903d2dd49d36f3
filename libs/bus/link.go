package bus

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/agentos-kernel/agentos/libs/dial"
)

const (
	dialTimeout = 3 * time.Second
	metadataTTL = 5 * time.Second
	// The least and the most time between two refreshes. A crowd of fetch loops that fail together must not
	// drop each other's new connections, nor trample a broker that has only just come back and is slow.
	refreshFirst, refreshLast = 200 * time.Millisecond, time.Second
	// refreshCalm without a refresh says that the trouble is over.
	refreshCalm = 5 * time.Second
)

// link is one component's own connections to the cluster. Nothing is shared between components, so
// closing one never touches another.
type link struct {
	client    *kafka.Client // bounded requests
	poll      *kafka.Client // long polls; the caller's context bounds them
	transport *kafka.Transport
	conns     *connSet
	cancel    context.CancelFunc

	mu        sync.Mutex
	refreshed time.Time     // the last time
	every     time.Duration // the least time to the next
}

func newLink(cfg Config) *link {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // it ends with close
	conns := newConnSet()
	tr := &kafka.Transport{
		Dial:        conns.dial,
		DialTimeout: dialTimeout,
		MetadataTTL: metadataTTL,
		IdleTimeout: 30 * time.Second,
		ClientID:    cfg.ClientID,
		TLS:         cfg.TLS,
		SASL:        cfg.SASL,
		Context:     ctx,
	}
	addr := kafka.TCP(cfg.Brokers...)
	return &link{
		client:    &kafka.Client{Addr: addr, Timeout: cfg.RequestTimeout, Transport: tr},
		poll:      &kafka.Client{Addr: addr, Transport: tr},
		transport: tr, conns: conns, cancel: cancel,
	}
}

// refresh forgets what is known of the cluster, so that the next request reads new metadata and
// dials anew. The transport offers no other way: it answers metadata requests from a cache, and
// after a broker's restart its idle connections are dead. Requests under way are not touched.
func (l *link) refresh() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	since := now.Sub(l.refreshed)
	if since < l.every {
		return
	}
	l.every = min(2*l.every, refreshLast)
	if since > refreshCalm {
		l.every = refreshFirst
	}
	l.refreshed = now
	l.transport.CloseIdleConnections()
}

// cause is why no broker is known, where err only says that none is. The transport has it in the cache that
// it answers metadata requests from.
func (l *link) cause(ctx context.Context, err error) error {
	if errors.Is(err, kafka.BrokerNotAvailable) {
		if _, why := l.client.Metadata(ctx, &kafka.MetadataRequest{}); why != nil {
			return why
		}
	}
	return err
}

// close ends all requests and connections at once.
func (l *link) close() {
	l.transport.CloseIdleConnections()
	l.cancel()
	l.conns.close()
}

// connSet knows every open connection, because kafka-go keeps one whose request was canceled until
// the broker answers and offers no way to end it.
type connSet struct {
	dialer *net.Dialer

	mu     sync.Mutex
	open   map[*trackedConn]struct{}
	closed bool
}

func newConnSet() *connSet {
	return &connSet{dialer: dial.Dialer(dialTimeout), open: map[*trackedConn]struct{}{}}
}

func (s *connSet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := s.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close() // nothing was sent on it
		return nil, net.ErrClosed
	}
	t := &trackedConn{Conn: c, set: s}
	s.open[t] = struct{}{}
	return t, nil
}

func (s *connSet) close() {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = map[*trackedConn]struct{}{}
	s.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close() // the readers of these connections have been given up already
	}
}

type trackedConn struct {
	net.Conn
	set *connSet
}

// Close closes the connection and forgets it.
func (c *trackedConn) Close() error {
	c.set.mu.Lock()
	delete(c.set.open, c)
	c.set.mu.Unlock()
	return c.Conn.Close()
}
