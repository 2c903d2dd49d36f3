package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// runTurn runs one agent after the other. A step is measured from the time its grant was decided to the
// time its settlement was, in the kernel's own facts: the model's and the tool's share is in it.
func runTurn(ctx context.Context, e *env) error {
	const steps = 60
	folder, script, err := e.script(steps)
	if err != nil {
		return err
	}
	agents := pick(e, 10, 2)
	return e.withKernel(ctx, []string{folder}, func(k *kernel) error {
		if _, err := oneTurn(ctx, k.client, script, steps); err != nil { // warm-up: plans, caches, pages of the heap
			return err
		}
		var ms []float64
		for range agents {
			got, err := oneTurn(ctx, k.client, script, steps)
			if err != nil {
				return err
			}
			ms = append(ms, got...)
		}
		e.report.times("turn", ms, under{15, 70, "p50 ≤ 15, p99 ≤ 70"}, "one model call and one tool call, zero-latency model, all included")
		return nil
	})
}

// oneTurn runs the script once and returns the times of the steps that called the tool.
func oneTurn(ctx context.Context, c *client.Client, script string, steps int) ([]float64, error) {
	a, err := c.Spawn(ctx, counter(script, steps))
	if err != nil {
		return nil, err
	}
	if a, err = awaitEnd(ctx, c, a.PID); err != nil {
		return nil, err
	}
	if err := checkCounter(a, steps); err != nil {
		return nil, err
	}
	// The list of facts ends where nothing can appear any more below, which may be a little behind.
	deadline := time.Now().Add(10 * time.Second)
	for {
		ms, err := stepTimes(ctx, c, a.PID)
		if err != nil || len(ms) == steps {
			return ms, err
		}
		if len(ms) > steps || time.Now().After(deadline) {
			return nil, fault.Newf(fault.Internal, "bench", "%s settled %d steps with a tool call, expected are %d", a.PID, len(ms), steps)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// stepTimes reads the facts of a process: from each grant to its settlement, of steps with a tool call.
func stepTimes(ctx context.Context, c *client.Client, pid string) ([]float64, error) {
	granted := map[int]time.Time{}
	var ms []float64
	for ev, err := range c.Events(ctx, pid, 0) {
		if err != nil {
			return nil, err
		}
		switch ev.Kind {
		case agent.StepGranted{}.Kind():
			var g agent.StepGranted
			if err := json.Unmarshal(ev.Data, &g); err != nil {
				return nil, fault.Wrap(fault.Internal, "bench", "cannot read a grant", err)
			}
			granted[g.Step] = ev.Time
		case agent.StepSettled{}.Kind():
			var s agent.StepSettled
			if err := json.Unmarshal(ev.Data, &s); err != nil {
				return nil, fault.Wrap(fault.Internal, "bench", "cannot read a settlement", err)
			}
			if s.Usage.ToolCalls > 0 {
				ms = append(ms, millis(ev.Time.Sub(granted[s.Step])))
			}
		}
	}
	return ms, nil
}

// awaitEnd looks at a process now and then until it has ended: rarely, so that looking costs little.
func awaitEnd(ctx context.Context, c *client.Client, pid string) (api.Agent, error) {
	for {
		a, err := c.Agent(ctx, pid)
		if err != nil || client.Ended(a.State) {
			return a, err
		}
		select {
		case <-ctx.Done():
			return a, fault.Wrap(fault.Unavailable, "bench", "gave up waiting for "+pid+", which is "+string(a.State), ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
