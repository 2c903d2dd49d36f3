// Package dial makes TCP connections that notice when the network between is gone.
package dial

import (
	"net"
	"time"
)

// noticed is how long sent data may go without an acknowledgement, and a silent connection without a
// sign of life, before it fails. Without it Linux tries for a quarter of an hour and more.
const noticed = 10 * time.Second

// Dialer makes connections of at most timeout each (0: as long as the system tries) that fail 10 s after
// the other side can no longer be reached. A peer that is there and only slow is waited for.
func Dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{
		Timeout: timeout,
		// The first probe after half the time, the rest fills it.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: noticed / 2, Interval: time.Second, Count: int(noticed / 2 / time.Second)},
		Control:         control,
	}
}
