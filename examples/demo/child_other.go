//go:build !linux

package main

import "syscall"

// childAttributes keeps Ctrl-C from the kernel, which is stopped by us.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
