//go:build !linux

package dial

import "syscall"

// control does nothing: other systems have only the keep-alive probes.
func control(string, string, syscall.RawConn) error { return nil }
