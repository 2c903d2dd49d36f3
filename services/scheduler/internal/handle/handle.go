// Package handle turns facts and commands into decisions about processes.
package handle

import (
	"context"
	"encoding/json"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	contextevents "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/core"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/runqueue"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/store"
)

// Handler handles the scheduler's inputs.
type Handler struct {
	streams *service.Streams[core.State]
	queue   *runqueue.Queue
	shard   func(subject string) int
	decode  func(events.Record) (events.Event, error)
	steps   *Steps
	folds   map[string]fold // of a rebuild, by tenant and pid
}

// New makes a handler. shard gives the shard of a pid.
func New(queue *runqueue.Queue, steps *Steps, shard func(subject string) int, decode func(events.Record) (events.Event, error)) *Handler {
	return &Handler{
		streams: Fold().Streams(), queue: queue, steps: steps, shard: shard, decode: decode, folds: map[string]fold{},
	}
}

// Spawn is the command to begin a process. The answer is the response.
type Spawn struct {
	Spawn   agent.Spawned
	Request store.Request
	Render  func(store.Process) (json.RawMessage, error)
}

// Message is the command to put a message into the mailbox. The answer is the response.
type Message struct {
	Message  agent.MessageReceived
	Request  store.Request
	Response json.RawMessage
}

// Signal is the command to end a process. The answer is the response.
type Signal struct {
	Signal   string
	Deadline time.Time
	Request  store.Request
	Response json.RawMessage
}

// Grant is the command to give a process that has a slot its next step.
type Grant struct{}

// Timer is the command to look at a process whose timer has run out. Its row has the Version.
type Timer struct{ Version int64 }

// Lost is the command to look at a process that stands ready and is in no queue: another replica made it
// ready. Its row has the Version.
type Lost struct{ Version int64 }

// least is the version that a command's process is known to have.
func least(cmd any) int64 {
	switch c := cmd.(type) {
	case Timer:
		return c.Version
	case Lost:
		return c.Version
	}
	return 0
}

// Handle implements the service's handler.
func (h *Handler) Handle(ctx context.Context, u *service.Unit, in *service.Input) error {
	if in.Command != nil {
		return h.command(ctx, u, in)
	}
	switch e := in.Event.(type) {
	case llm.Event:
		if o, ok := modelCall(e, in.Record.StreamVersion); ok {
			return h.observe(ctx, u, in, o)
		}
	case tool.Event:
		if o, ok := toolCall(e, in.Record.StreamVersion); ok {
			return h.observe(ctx, u, in, o)
		}
	case contextevents.WindowRefused:
		st, err := h.streams.Load(ctx, u, in.Tenant, in.Subject)
		if err != nil {
			return err
		}
		h.apply(u, in, st, core.WindowRefused(st.State, e.Step, e.Reason))
	}
	return nil
}

func (h *Handler) observe(ctx context.Context, u *service.Unit, in *service.Input, o agent.CallObserved) error {
	st, err := h.streams.Load(ctx, u, in.Tenant, in.Subject)
	if err != nil {
		return err
	}
	h.apply(u, in, st, core.Observe(st.State, o, u.Now()))
	return nil
}

func (h *Handler) command(ctx context.Context, u *service.Unit, in *service.Input) error {
	st, err := h.streams.LoadAt(ctx, u, in.Tenant, in.Subject, least(in.Command))
	if err != nil {
		return err
	}
	switch c := in.Command.(type) {
	case Spawn:
		return h.spawn(ctx, u, in, st, c)
	case Message:
		return h.idempotent(ctx, u, in, c.Request, c.Response, func() ([]events.Event, error) {
			return core.Message(st.State, c.Message)
		}, st)
	case Signal:
		return h.idempotent(ctx, u, in, c.Request, c.Response, func() ([]events.Event, error) {
			return core.Signal(st.State, c.Signal, c.Deadline)
		}, st)
	case Grant:
		h.grant(u, in, st)
	case Timer:
		h.apply(u, in, st, core.Timer(st.State, u.Now()))
	case Lost:
		if key, p := (runqueue.Key{Tenant: in.Tenant, PID: in.Subject}), st.State.Spawn.Priority; st.State.Status == core.Ready && u.Owned() {
			u.AfterCommit(func() { h.queue.Wait(key, p) })
		}
	default:
		return fault.Newf(fault.Internal, "scheduler.handle", "unknown command %T", c)
	}
	return nil
}

func (h *Handler) spawn(ctx context.Context, u *service.Unit, in *service.Input, st *service.Stream[core.State], c Spawn) error {
	if had, err := store.Answered(ctx, u.DB(), in.Tenant, c.Request); err != nil || had != nil {
		in.Reply(had)
		return err
	}
	evs, err := core.Spawn(st.State, c.Spawn)
	if err != nil {
		return err
	}
	after := st.State
	for _, e := range evs {
		after = core.Evolve(after, e)
	}
	response, err := c.Render(store.FromState(in.Subject, after, 1, u.Now()))
	if err != nil {
		return err
	}
	h.apply(u, in, st, evs)
	store.Remember(u, in.Tenant, c.Request, response)
	in.Reply(response)
	return nil
}

// idempotent does what a request asks once and answers its repetitions alike.
func (h *Handler) idempotent(ctx context.Context, u *service.Unit, in *service.Input, r store.Request, response json.RawMessage,
	decide func() ([]events.Event, error), st *service.Stream[core.State],
) error {
	if had, err := store.Answered(ctx, u.DB(), in.Tenant, r); err != nil || had != nil {
		in.Reply(had)
		return err
	}
	evs, err := decide()
	if err != nil {
		return err
	}
	h.apply(u, in, st, evs)
	store.Remember(u, in.Tenant, r, response)
	in.Reply(response)
	return nil
}

// grant gives the next step to a process that was given a slot.
func (h *Handler) grant(u *service.Unit, in *service.Input, st *service.Stream[core.State]) {
	key := runqueue.Key{Tenant: in.Tenant, PID: in.Subject}
	evs := core.Grant(st.State, u.Now())
	if len(evs) == 0 {
		if !st.State.InStep() {
			u.AfterCommit(func() { h.queue.Release(key) }) // it has ended or waits: the slot is free
		}
		return
	}
	h.record(u, in, st, evs)
	if !st.State.InStep() {
		u.AfterCommit(func() { h.queue.Release(key) })
	}
}

// apply records what was decided. A process that is ready then goes on at once when nobody waits for
// its slot; otherwise it queues.
func (h *Handler) apply(u *service.Unit, in *service.Input, st *service.Stream[core.State], evs []events.Event) {
	if len(evs) == 0 {
		return
	}
	key := runqueue.Key{Tenant: in.Tenant, PID: in.Subject}
	before := st.State.Status
	spawned := !st.State.Exists()
	if spawned {
		st.Append(evs...)
		store.Save(u, in.Tenant, in.Subject, h.shard(in.Subject), st.State, st.Version, true)
		evs = nil
	}
	for _, e := range evs {
		st.Append(e)
		h.steps.watch(u, key, e)
	}
	if st.State.Status == core.Ready && before != core.Ready && u.Owned() && h.queue.Keep(key) {
		u.OnRollback(func() { h.queue.Release(key) })
		granted := core.Grant(st.State, u.Now())
		st.Append(granted...)
		for _, e := range granted {
			h.steps.watch(u, key, e)
		}
	}
	store.Save(u, in.Tenant, in.Subject, h.shard(in.Subject), st.State, st.Version, false)
	switch status, priority := st.State.Status, st.State.Spawn.Priority; {
	case status == core.Ready && u.Owned():
		u.AfterCommit(func() { h.queue.Wait(key, priority) })
	case status != core.Running && status != core.Ready:
		u.AfterCommit(func() { h.queue.Release(key) })
	}
}

func (h *Handler) record(u *service.Unit, in *service.Input, st *service.Stream[core.State], evs []events.Event) {
	st.Append(evs...)
	store.Save(u, in.Tenant, in.Subject, h.shard(in.Subject), st.State, st.Version, false)
}
