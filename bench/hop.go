package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
)

// hops notes when a fact was committed by its writer and by its hearer.
type hops struct {
	mu      sync.Mutex
	written map[string]time.Time
	heard   map[string]time.Time
	twice   int
}

func (h *hops) note(at map[string]time.Time, id string) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, had := at[id]; had {
		h.twice++
	}
	at[id] = now
}

func (h *hops) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.written, h.heard = map[string]time.Time{}, map[string]time.Time{}
}

// say is the command to write one fact.
type say struct{ id string }

// writer commits one fact per command; it hears the other one, as services of the kernel do.
func (h *hops) writer() service.Definition {
	streams := service.NewStreams(events.Agent, func(n int, _ events.Event) int { return n + 1 })
	return service.Definition{
		Name: "scheduler", Family: events.Agent, Consumes: []events.Family{events.LLM},
		Handle: func(ctx context.Context, u *service.Unit, in *service.Input) error {
			cmd, ok := in.Command.(say)
			if !ok {
				return nil
			}
			st, err := streams.Load(ctx, u, in.Tenant, in.Subject)
			if err != nil {
				return err
			}
			st.Append(agent.MessageReceived{MessageID: cmd.id, Content: "hop"})
			u.AfterCommit(func() { h.note(h.written, cmd.id) })
			return nil
		},
	}
}

// hearer answers each fact with one of its own.
func (h *hops) hearer() service.Definition {
	streams := service.NewStreams(events.LLM, func(n int, _ events.Event) int { return n + 1 })
	return service.Definition{
		Name: "llm", Family: events.LLM, Consumes: []events.Family{events.Agent},
		Handle: func(ctx context.Context, u *service.Unit, in *service.Input) error {
			m, ok := in.Event.(agent.MessageReceived)
			if !ok {
				return nil
			}
			st, err := streams.Load(ctx, u, in.Tenant, in.Subject)
			if err != nil {
				return err
			}
			st.Append(llm.CallRefused{Code: "bench", Reason: m.MessageID})
			u.AfterCommit(func() { h.note(h.heard, m.MessageID) })
			return nil
		},
	}
}

// runHop measures from the commit of a fact to the commit of what another service made of it.
func runHop(ctx context.Context, e *env) error {
	return e.withParts(ctx, func(p *parts) (err error) {
		h := &hops{}
		h.reset()
		hearer, stopHearer, err := p.serve(ctx, h.hearer())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stopHearer()) }()
		writer, stopWriter, err := p.serve(ctx, h.writer())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stopWriter()) }()
		for _, rt := range []*service.Runtime{hearer, writer} {
			if err := awaitReady(ctx, rt); err != nil {
				return err
			}
		}
		seconds := pick(e, 10, 2)
		if _, err := h.at(ctx, writer, 200, pick(e, 600, 200), "warm-up"); err != nil {
			return err
		}
		for _, c := range []struct {
			rate  int
			limit under
		}{{200, under{2, 5, "p50 ≤ 2, p99 ≤ 5"}}, {500, under{0, 10, "p99 ≤ 10"}}} {
			ms, err := h.at(ctx, writer, c.rate, c.rate*seconds, strconv.Itoa(c.rate))
			if err != nil {
				return err
			}
			e.report.times(fmt.Sprintf("hop.%d", c.rate), ms, c.limit, fmt.Sprintf("%d facts/s, commit in A to commit in B", c.rate))
		}
		return nil
	})
}

// at sends facts at a steady rate, without waiting for the one before, and returns the hops' times.
func (h *hops) at(ctx context.Context, writer *service.Runtime, rate, n int, prefix string) ([]float64, error) {
	const subjects = 64
	h.reset()
	began := time.Now()
	for i := range n {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		writer.Post(events.DefaultTenant, fmt.Sprintf("%s-%d", prefix, i%subjects), say{fmt.Sprintf("%s-%d", prefix, i)})
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		h.mu.Lock()
		heard := len(h.heard)
		h.mu.Unlock()
		if heard == n {
			break
		}
		if time.Now().After(deadline) {
			return nil, fault.Newf(fault.Internal, "bench", "%d of %d facts were heard within 20 s", heard, n)
		}
		time.Sleep(5 * time.Millisecond)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.twice > 0 {
		return nil, fault.Newf(fault.Internal, "bench", "%d facts were handled twice", h.twice)
	}
	ms := make([]float64, 0, n)
	for id, at := range h.heard {
		ms = append(ms, millis(at.Sub(h.written[id])))
	}
	return ms, nil
}

// serve runs a service until stop.
func (p *parts) serve(ctx context.Context, def service.Definition) (*service.Runtime, func() error, error) {
	reg, err := catalog.New()
	if err != nil {
		return nil, nil, err
	}
	pool, err := p.pool(ctx, def.Name, 12)
	if err != nil {
		return nil, nil, err
	}
	rt, err := service.New(def, service.Deps{
		DB: pool, Bus: p.bus(), Partitions: partitions, Registry: reg, Logger: p.log,
		Now: time.Now, NewID: newID, GraceTime: 2 * time.Second,
	})
	if err != nil {
		return nil, nil, err
	}
	run, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- rt.Run(run) }()
	return rt, func() error { cancel(); return <-done }, nil
}

func awaitReady(ctx context.Context, rt *service.Runtime) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := rt.Ready(ctx)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
