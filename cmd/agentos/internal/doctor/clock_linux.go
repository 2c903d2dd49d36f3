package doctor

import "syscall"

// timeError is the state of an unsynchronised clock, adjtimex(2).
const timeError = 5

// clockSynchronised asks the kernel; where it may not be asked, as in some containers, no harm is seen.
func clockSynchronised() bool {
	var t syscall.Timex
	state, err := syscall.Adjtimex(&t)
	return err != nil || state != timeError
}
