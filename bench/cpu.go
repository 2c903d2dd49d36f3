package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc, the same on all Linux of today.
const tick = 10 * time.Millisecond

// cpuTime is CPU time spent so far by the kernel's process and by its Postgres. It depends far less on
// what else the machine does than a rate or a latency.
type cpuTime struct{ kernel, postgres time.Duration }

// cpuTime reads /proc; where there is none everything is 0.
func (k *kernel) cpuTime() cpuTime {
	u := cpuTime{kernel: processCPU(k.cmd.Process.Pid, false)}
	raw, err := os.ReadFile(filepath.Join(k.home, "postgres", "cluster", "postmaster.pid")) //nolint:gosec // our own folder
	if err != nil {
		return u
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	postmaster, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return u
	}
	u.postgres = processCPU(postmaster, true)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return u
	}
	for _, name := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil && parentOf(pid) == postmaster {
			u.postgres += processCPU(pid, false)
		}
	}
	return u
}

// statFields are the fields of /proc/PID/stat behind the command's name: the state is number 0.
func statFields(pid int) []string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) //nolint:gosec // a number
	if err != nil {
		return nil
	}
	text := string(raw)
	return strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
}

func parentOf(pid int) int {
	f := statFields(pid)
	if len(f) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(f[1])
	if err != nil {
		return 0
	}
	return parent
}

// processCPU is user and system time of a process; with children, of those that have ended, too.
func processCPU(pid int, children bool) time.Duration {
	f := statFields(pid)
	if len(f) < 15 {
		return 0
	}
	last := 12 // utime, stime
	if children {
		last = 14 // cutime, cstime
	}
	var sum time.Duration
	for _, s := range f[11 : last+1] {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			sum += time.Duration(n) * tick
		}
	}
	return sum
}
