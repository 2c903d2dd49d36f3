package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// spawners is how many agents are submitted at once.
const spawners = 8

// runTurns runs many agents at once. What was lost or doubled is counted from the process documents.
func runTurns(ctx context.Context, e *env) error {
	const steps = 20
	folder, script, err := e.script(steps)
	if err != nil {
		return err
	}
	agents := e.agents
	if e.smoke {
		agents = 20
	}
	return e.withKernel(ctx, []string{folder}, func(k *kernel) error {
		if _, err := oneTurn(ctx, k.client, script, steps); err != nil { // warm-up
			return err
		}
		before, began := k.cpuTime(), time.Now()
		if err := spawnAll(ctx, k.client, script, steps, agents); err != nil {
			return err
		}
		spawned := time.Since(began)
		if err := awaitNone(ctx, k.client, script); err != nil {
			return err
		}
		after := k.cpuTime()
		t, err := count(ctx, k.client, script, steps, began)
		if err != nil {
			return err
		}
		e.report.value("turns.spawn", "agents/s", agents, float64(agents)/spawned.Seconds(), fmt.Sprintf("POST /v1/agents, %d at a time, while agents run", spawners))
		rate := float64(t.steps) / t.wall.Seconds()
		note := fmt.Sprintf("%d agents, from the first POST to the last settlement: %.1f s", agents, t.wall.Seconds())
		if agents >= 1000 {
			e.report.judged("turns.rate", "steps/s", t.steps, rate, "≥ 300", rate >= 300, note)
		} else {
			e.report.value("turns.rate", "steps/s", t.steps, rate, note)
		}
		e.report.judged("turns.lost", "steps", t.expected, float64(t.lost), "= 0", t.lost == 0, "")
		e.report.judged("turns.doubled", "steps", t.expected, float64(t.doubled), "= 0", t.doubled == 0, "")
		perStep := func(d time.Duration) float64 { return millis(d) / float64(max(1, t.steps)) }
		e.report.value("turns.cpu_kernel", "ms/step", t.steps, perStep(after.kernel-before.kernel), "CPU time of the kernel process, broker included")
		e.report.value("turns.cpu_postgres", "ms/step", t.steps, perStep(after.postgres-before.postgres), "CPU time of Postgres")
		e.report.value("turns.memory", "MB", agents, k.memory(), "highest resident memory of the kernel process, without Postgres")
		if t.wrong != nil {
			return t.wrong
		}
		return e.verifyAudit(ctx, k, "turns.audit_entries")
	})
}

func spawnAll(ctx context.Context, c *client.Client, script string, steps, agents int) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(spawners)
	for range agents {
		g.Go(func() error {
			_, err := c.Spawn(gctx, counter(script, steps))
			return err
		})
	}
	return g.Wait()
}

// awaitNone waits until no agent of a name is alive.
func awaitNone(ctx context.Context, c *client.Client, name string) error {
	alive := client.AgentFilter{Name: name, States: []api.AgentState{api.StateCreated, api.StateReady, api.StateRunning, api.StateWaiting, api.StateSuspended}}
	for {
		busy := false
		for _, err := range c.Agents(ctx, alive) {
			if err != nil {
				return err
			}
			busy = true
			break // one is enough to go on waiting
		}
		if !busy {
			return nil
		}
		select {
		case <-ctx.Done():
			return fault.Wrap(fault.Unavailable, "bench", "agents were still running", ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// tally is what the process documents say after a run.
type tally struct {
	steps, expected, lost, doubled int
	wall                           time.Duration
	wrong                          error // the first process that is not as it should be
}

// count adds up the agents that were made after a time, so that a warm-up does not count.
func count(ctx context.Context, c *client.Client, name string, steps int, after time.Time) (tally, error) {
	var t tally
	last := after
	for a, err := range c.Agents(ctx, client.AgentFilter{Name: name}) {
		if err != nil {
			return t, err
		}
		if a.CreatedAt.Before(after) {
			continue
		}
		t.expected += steps + 1
		t.steps += a.Usage.Steps
		t.lost += max(0, steps+1-a.Usage.Steps)
		t.doubled += max(0, a.Usage.Steps-steps-1)
		if a.UpdatedAt.After(last) {
			last = a.UpdatedAt
		}
		if err := checkCounter(a, steps); err != nil && t.wrong == nil {
			t.wrong = err
		}
	}
	t.wall = last.Sub(after)
	return t, nil
}
