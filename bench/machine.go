package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/agentos-kernel/agentos/libs/embedded"
)

// machine is what the figures were measured on.
type machine struct {
	Cores   int     `json:"cores"`
	CPU     string  `json:"cpu"`
	Go      string  `json:"go"`
	OS      string  `json:"os"`
	FsyncMS float64 `json:"fsync_ms"` // median of a 4 KiB append with fdatasync in the folder of the data
	Load1   float64 `json:"load1"`    // load average of the minute before: what else the machine was doing
	Durable bool    `json:"durable"`  // every commit is on disk before it is answered
}

// measureMachine looks at the machine just before a benchmark.
func (e *env) measureMachine() error {
	d, err := embedded.FsyncLatency(e.dir)
	if err != nil {
		return err
	}
	e.report.machine = machine{
		Cores: runtime.NumCPU(), CPU: cpu(), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH,
		FsyncMS: round(millis(d)), Load1: load1(), Durable: true,
	}
	return nil
}

// cpu is the processor's name as Linux tells it, "" elsewhere.
func cpu() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func load1() float64 {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(raw), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return v
}
