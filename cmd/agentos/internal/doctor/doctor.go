// Package doctor looks for what keeps a kernel from running on this machine, and says how to mend it.
// It changes nothing: a file it makes to try a disk is removed at once.
package doctor

import (
	"context"
	"time"
)

// Status is how a check went.
type Status string

// The statuses. Only Fail keeps a kernel from running.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Check is what was looked at and what was found.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"` // what to do about a warning or a failure
}

// Config says which kernel to look at.
type Config struct {
	Home        string                          // data folder; need not exist
	DatabaseURL string                          // a Postgres of the user's; "" for the private one
	Getenv      func(string) string             // how to reach a Kafka of the user's; see bus.FromEnv
	HTTP        string                          // address the kernel serves on by default
	Ready       func(ctx context.Context) error // asks a running kernel whether it is ready
}

// patience is how long one check may take.
const patience = 10 * time.Second

// Run makes all checks, in a fixed order.
func Run(ctx context.Context, cfg Config) []Check {
	var all []Check
	for _, check := range []func(context.Context, Config) []Check{folder, space, latency, kernel, port, postgres, broker, clock} {
		limited, cancel := context.WithTimeout(ctx, patience)
		all = append(all, check(limited, cfg)...)
		cancel()
	}
	return all
}

func one(name string, status Status, detail, fix string) []Check {
	return []Check{{Name: name, Status: status, Detail: detail, Fix: fix}}
}
