package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// runStartup starts the kernel again and again on one data folder, with the recordings `make run` gives
// it, and sends a task as soon as it says it is ready.
func runStartup(ctx context.Context, e *env) (err error) {
	const steps = 20
	folder, script, err := e.script(steps)
	if err != nil {
		return err
	}
	home, remove, err := e.home(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	folders := []string{folder, filepath.Join(e.root, "examples", "airline"), filepath.Join(e.root, "examples", "report")}
	var ready, accepted []float64
	rounds := pick(e, 5, 1)
	for i := range rounds + 1 {
		k, err := e.startKernel(ctx, home, folders...)
		if err != nil {
			return err
		}
		a, err := k.client.Spawn(ctx, counter(script, steps))
		took := time.Since(k.began)
		if err == nil {
			_, err = awaitEnd(ctx, k.client, a.PID)
		}
		if err := errors.Join(err, k.stop()); err != nil {
			return fault.Wrap(fault.KindOf(err), "bench", "the kernel did not start, run a task and stop", err)
		}
		if i == 0 {
			e.report.value("startup.new", "s", 1, took.Seconds(), "empty data folder to first task accepted: initdb, schemas, topics")
			continue
		}
		ready, accepted = append(ready, k.ready.Seconds()*1000), append(accepted, took.Seconds()*1000)
	}
	e.report.times("startup.ready", ready, under{}, "warm: process start to ready line; p99 is the slowest")
	e.report.times("startup.accepted", accepted, under{0, 3000, "≤ 3,000"}, "warm: process start to POST /v1/agents answered 201")
	return nil
}
