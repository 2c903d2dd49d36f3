package main

import "syscall"

// childAttributes keeps Ctrl-C from the kernel, which is stopped by us, and stops it when we are gone without a
// word, as when the reader of our output ends first.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
