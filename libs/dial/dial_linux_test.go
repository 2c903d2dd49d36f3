package dial_test

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentos-kernel/agentos/libs/dial"
)

// A connection has both bounds: for data that is not acknowledged and for silence.
func TestConnectionsNoticeALostNetwork(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := dial.Dialer(time.Second).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("a %T", conn)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	if err := raw.Control(func(fd uintptr) {
		for name, opt := range map[string]int{"unacknowledged ms": unix.TCP_USER_TIMEOUT, "idle s": unix.TCP_KEEPIDLE, "probe s": unix.TCP_KEEPINTVL, "probes": unix.TCP_KEEPCNT} {
			v, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, opt)
			if err != nil {
				t.Error(err)
			}
			got[name] = v
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got["unacknowledged ms"] != 10_000 || got["idle s"]+got["probe s"]*got["probes"] != 10 {
		t.Errorf("socket options %v, want both bounds at 10 s", got)
	}
}
