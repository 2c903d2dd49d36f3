package embedded

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// Ports handed out lie in [portLow, portHigh): above the well-known services, below 32768 where Linux
// begins to take ports for outgoing connections.
const (
	portLow  = 20000
	portHigh = 32768
)

// FreePort returns a loopback TCP port below 32768 that was free a moment ago. Another process may take
// it in between: who can should listen on port 0 of [StartBroker] instead.
func FreePort() (int, error) {
	ln, err := listenLow(context.Background(), "127.0.0.1") //nolint:forbidigo // opening a port does not block
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return portOf(ln), nil
}

// listenLow listens on a free port of host below 32768. It starts at a random place so that processes
// started together do not race for the same one.
func listenLow(ctx context.Context, host string) (net.Listener, error) {
	const n = portHigh - portLow
	start := rand.IntN(n) //nolint:gosec // any place will do
	var last error
	var lc net.ListenConfig
	for i := range 200 {
		port := portLow + (start+i*61)%n // a step with no common divisor with n: no port twice
		ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return ln, nil
		}
		last = err
	}
	return nil, fault.Wrap(fault.Unavailable, "embedded.port", "found no free port below 32768", last).
		WithFix("Check that " + host + " is an address of this machine and that ports can be opened.")
}

func portOf(ln net.Listener) int {
	if a, ok := ln.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}
