package dial

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// control bounds the time for which sent data may stay unacknowledged; keep-alive probes do not count
// then. Addresses that are no TCP, such as a socket file, have no such bound and need none.
func control(network, _ string, c syscall.RawConn) error {
	if len(network) < 3 || network[:3] != "tcp" {
		return nil
	}
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(noticed.Milliseconds()))
	}); cerr != nil {
		return cerr
	}
	return err
}
