// Package handle folds what the learning service hears into stored trajectories.
package handle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/learning/internal/core"
	"github.com/agentos-kernel/agentos/services/learning/internal/store"
)

// cached bounds the processes whose trajectory is kept in memory; the rest is read again when needed.
const cached = 4096

// keptSteps is how many of its newest steps a cached process keeps.
const keptSteps = 2

// Handler folds records. Inputs of one process are handled one after the other, by the replica that owns
// its shard.
type Handler struct {
	streams *service.Streams[core.State]
	decode  func(events.Record) (events.Event, error)

	mu    sync.Mutex
	procs map[store.Key]*process
	gen   int // counts assignments; what is older must be read again
}

// process is a trajectory as it is after everything handled so far.
type process struct {
	key   store.Key
	head  core.Head
	steps map[int]*core.Step
	unit  *service.Unit // the batch that has changed it; nil when it is as stored
	gen   int           // assignment in which it was read
}

// New makes a handler.
func New(decode func(events.Record) (events.Event, error)) *Handler {
	return &Handler{
		streams: service.NewStreams(events.Learning, core.Evolve), decode: decode, procs: map[store.Key]*process{},
	}
}

// Assigned implements service.Definition.Assigned: another replica may have written meanwhile. What a
// running batch has changed stays until the batch ends.
func (h *Handler) Assigned(context.Context, []int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gen++
	maps.DeleteFunc(h.procs, func(_ store.Key, p *process) bool { return p.unit == nil })
	return nil
}

// Handle implements service.Definition.Handle.
func (h *Handler) Handle(ctx context.Context, u *service.Unit, in *service.Input) error {
	if in.Record == nil {
		return fault.Newf(fault.Invalid, "learning.handle", "unknown command %T", in.Command)
	}
	if !core.Relevant(in.Record.Kind) {
		return nil
	}
	event, err := h.decode(*in.Record)
	if _, unknown := errors.AsType[*events.UnknownKindError](err); unknown {
		return nil // of a newer writer: the trajectory lacks it, as a replay by this program would
	}
	if _, erased := errors.AsType[*events.ErasedError](err); erased {
		return nil // nobody will ever read it
	}
	if err != nil {
		return fault.Wrap(fault.Invalid, "learning.handle", "cannot read the event", err)
	}
	p, err := h.process(ctx, u, store.Key{Tenant: in.Tenant, PID: in.Subject})
	if err != nil {
		return err
	}
	var step *core.Step
	if n, ok := core.StepOf(event); ok {
		if step, err = p.step(ctx, u, n); err != nil {
			return err
		}
	}
	if !core.Apply(&p.head, step, in.Record, event) {
		return nil
	}
	return h.write(ctx, u, p, step)
}

// write queues what changed and closes the trajectory if it is whole. A row that several inputs of the
// batch touch is written once.
func (h *Handler) write(ctx context.Context, u *service.Unit, p *process, step *core.Step) error {
	head, err := store.PutHead(p.key, &p.head)
	if err != nil {
		return err
	}
	var row store.Statement
	if step != nil {
		if row, err = store.PutStep(p.key, step); err != nil {
			return err
		}
	}
	stream, err := h.closing(ctx, u, p)
	if err != nil {
		return err
	}
	name := p.key.Tenant + "/" + p.key.PID
	u.Once("head/"+name, head.SQL, head.Args...)
	if step != nil {
		u.Once(fmt.Sprintf("step/%s/%d", name, step.Step), row.SQL, row.Args...)
	}
	if stream != nil {
		for _, e := range core.Decide(stream.State, &p.head) {
			stream.Append(e)
		}
	}
	return nil
}

// closing is the process's own stream when its trajectory may be closed, else nil. A process that was
// killed may have calls its own stream does not speak of: they are waited for as far as they are stored.
func (h *Handler) closing(ctx context.Context, u *service.Unit, p *process) (*service.Stream[core.State], error) {
	if !p.head.Whole() {
		return nil, nil
	}
	behind, err := store.Behind(ctx, u.DB(), p.key, p.head.Seen)
	if err != nil || behind {
		return nil, err
	}
	return h.streams.Load(ctx, u, p.key.Tenant, p.key.PID)
}

// process is the trajectory of a process bound to this batch: kept when it commits, read again when not.
func (h *Handler) process(ctx context.Context, u *service.Unit, key store.Key) (*process, error) {
	p := h.get(key)
	if p == nil || (p.unit != u && (p.unit != nil || !u.Owned())) {
		gen := h.generation() // before the read: an assignment during it makes the read too old
		head, err := store.Head(ctx, u.DB(), key)
		if err != nil {
			return nil, err
		}
		p = &process{key: key, head: head, steps: map[int]*core.Step{}, gen: gen}
	}
	if p.unit == u {
		return p, nil
	}
	h.put(p, u)
	u.AfterCommit(func() { h.settle(p) })
	u.OnRollback(func() { h.drop(p) })
	return p, nil
}

func (p *process) step(ctx context.Context, u *service.Unit, n int) (*core.Step, error) {
	if s := p.steps[n]; s != nil {
		return s, nil
	}
	s := core.Step{Step: n}
	if n <= p.head.LastStep { // above it nothing is stored
		var err error
		if s, err = store.Step(ctx, u.DB(), p.key, n); err != nil {
			return nil, err
		}
	}
	p.steps[n] = &s
	return &s, nil
}

func (h *Handler) generation() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gen
}

func (h *Handler) get(key store.Key) *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.procs[key]
}

func (h *Handler) put(p *process, u *service.Unit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p.unit = u
	h.procs[p.key] = p
	if len(h.procs) <= cached {
		return
	}
	for k, old := range h.procs { // any idle one will do: the next event reads it again
		if old.unit == nil {
			delete(h.procs, k)
			if len(h.procs) <= cached {
				return
			}
		}
	}
}

// settle unbinds a process after its batch has committed and lets go of what is not needed again.
func (h *Handler) settle(p *process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p.unit = nil
	for n := range p.steps {
		if n <= p.head.LastStep-keptSteps {
			delete(p.steps, n)
		}
	}
	if (p.head.Whole() || p.gen != h.gen) && h.procs[p.key] == p {
		delete(h.procs, p.key)
	}
}

func (h *Handler) drop(p *process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.procs[p.key] == p {
		delete(h.procs, p.key)
	}
}
