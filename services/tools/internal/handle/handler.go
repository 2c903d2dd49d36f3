// Package handle reacts to facts and outcomes: it gathers what the core needs to decide, and carries
// out what the core decided. One file per consumed fact.
package handle

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/llm"
	toolevent "github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/effect"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/tools/internal/core"
	"github.com/agentos-kernel/agentos/services/tools/internal/registry"
	"github.com/agentos-kernel/agentos/services/tools/internal/store"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
)

// Config is what a handler works with.
type Config struct {
	Registry *registry.Registry
	Limits   tool.Limits
	Effects  effect.Config
	Tracer   trace.Tracer
}

// repliesCached bounds the replies kept in memory; others are read from the event store when an
// ordered call needs one.
const repliesCached = 8192

// Handler handles the inputs of the service.
type Handler struct {
	cfg       Config
	streams   *service.Streams[core.State]
	processes *store.Processes
	replies   *store.Cache[store.Key, reply]
	jobs      jobs
	effects   *effect.Runner
	history   store.History
}

// reply is where a step's tool results follow: the chain hash up to and including the reply.
type reply struct {
	step  int
	chain string
}

// New makes a handler; Bind must follow before the first input.
func New(cfg Config) *Handler {
	h := &Handler{
		cfg:       cfg,
		streams:   Fold().Streams(),
		processes: store.NewProcesses(),
		replies:   store.NewCache[store.Key, reply](repliesCached),
		jobs:      jobs{waiting: map[jobKey]job{}},
	}
	h.effects = effect.New(cfg.Effects, h.run)
	return h
}

// Bind ties the handler to the runtime; owner names this replica in leases.
func (h *Handler) Bind(rt *service.Runtime, owner string) {
	h.history = rt
	h.effects.Bind(rt, owner)
}

// Loop keeps the leases; see effect.Runner.Loop.
func (h *Handler) Loop(grace time.Duration) func(ctx context.Context) error {
	return h.effects.Loop(grace)
}

// Assigned forgets what may have changed while another replica owned the shards.
func (h *Handler) Assigned(context.Context, []int) error {
	h.processes.Clear()
	return nil
}

// Handle implements service.Definition.Handle. Facts the service does not use change nothing.
func (h *Handler) Handle(ctx context.Context, u *service.Unit, in *service.Input) error {
	switch c := in.Command.(type) {
	case effect.Outcome:
		return h.effectOutcome(ctx, u, c)
	case effect.Takeover:
		return h.effectTakeover(ctx, u, c)
	case core.Publish:
		return h.publish(ctx, u, in, c)
	}
	switch e := in.Event.(type) {
	case agent.Spawned:
		return h.agentSpawned(u, in, e)
	case agent.SignalReceived, agent.Completed, agent.Failed, agent.Terminated:
		return h.agentEnded(ctx, u, in)
	case llm.CallFinished:
		return h.llmCallFinished(ctx, u, in, e)
	}
	return nil
}

// scene is everything a decision about a process's calls rests on.
type scene struct {
	key     store.Key
	process store.Process
	entries map[string]registry.Entry
	stream  *service.Stream[core.State]
}

func (h *Handler) scene(ctx context.Context, u *service.Unit, key store.Key) (*scene, error) {
	process, err := h.processes.Get(ctx, u, h.history, key)
	if err != nil {
		return nil, err
	}
	stream, err := h.streams.Load(ctx, u, key.Tenant, key.PID)
	if err != nil {
		return nil, fault.Wrap(fault.KindOf(err), "tools.load", "the calls of the process cannot be read", err)
	}
	return &scene{key: key, process: process, entries: h.cfg.Registry.Resolve(process.Tools), stream: stream}, nil
}

// known is the process as the core sees it.
func (s *scene) known() core.Process {
	p := core.Process{PID: s.key.PID, Ended: s.process.Ended != "", Why: s.process.Ended, Tools: map[string]core.Tool{}}
	for name, e := range s.entries {
		p.Tools[name] = core.Tool{Class: e.Tool.Class(), Ordered: e.Ordered, Layers: e.Layers}
	}
	return p
}

// decide has the core decide and carries it out: events appended, started attempts leased and run after
// the commit, leases of ended ones removed. It reports whether there was anything new. An error comes
// before the first change.
func (h *Handler) decide(ctx context.Context, u *service.Unit, s *scene, cmd core.Command) (bool, error) {
	before := s.stream.State
	decided := core.Decide(before, cmd)
	after := before
	for _, e := range decided {
		after = core.Evolve(after, e)
	}
	starts, err := h.prepare(ctx, s, after, decided)
	if err != nil {
		return false, err
	}
	for _, e := range decided {
		s.stream.Append(e)
	}
	for _, start := range starts {
		h.jobs.put(u, start.key, start.job)
		h.effects.Start(u, start.effect) //nolint:contextcheck // an effect outlives the batch that starts it
	}
	for _, call := range before.In(core.Running) {
		if now, _ := after.Find(call.ID); now.Phase == core.Ended {
			h.effects.Done(u, s.effect(call))
		}
	}
	return len(decided) > 0, nil
}

func (s *scene) effect(c core.Call) effect.Effect {
	return effect.Effect{Tenant: s.key.Tenant, Subject: s.key.PID, CallID: c.ID, Attempt: c.Attempt, Class: c.Class}
}

// start is one attempt about to be made.
type start struct {
	key    jobKey
	job    job
	effect effect.Effect
}

// prepare makes the jobs of all started attempts.
func (h *Handler) prepare(ctx context.Context, s *scene, after core.State, decided []toolevent.Event) ([]start, error) {
	var out []start
	for _, e := range decided {
		started, ok := e.(toolevent.CallStarted)
		if !ok {
			continue
		}
		entry := s.entries[started.Call.Request.Function.Name]
		args, err := tool.Normalize(started.Call.Request.Function.Arguments)
		if err != nil {
			return nil, err
		}
		j := job{tool: entry.Tool, args: args, env: tool.Env{CallID: started.Call.ID, Attempt: started.Call.Attempt}}
		if entry.Workspace {
			j.env.Workspace = opener(s.key.PID, s.process.Workspace)
		}
		if entry.Ordered {
			chain, err := h.replyChain(ctx, s.key, started.Call.Step)
			if err != nil {
				return nil, err
			}
			j.env.Chain = after.Chain(chain, started.Call)
		}
		out = append(out, start{
			key: jobKey{s.key.Tenant, started.Call.ID, started.Call.Attempt}, job: j,
			effect: s.effect(core.Call{Call: started.Call, Class: started.Class}),
		})
	}
	return out, nil
}
