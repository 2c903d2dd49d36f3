// Package httpapi is the ingress: HTTP requests become commands, rows become answers.
package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
	"github.com/agentos-kernel/agentos/libs/pid"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/core"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/handle"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/store"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/stream"
)

// Runtime is what the ingress needs of the harness.
type Runtime interface {
	Do(ctx context.Context, tenant, subject string, cmd any) (any, error)
	Decode(rec events.Record) (events.Event, error)
	Body(rec events.Record) ([]byte, error)
}

// Config is what the ingress must know.
type Config struct {
	Roots     []string // folders a workspace may lie in; the first holds workspaces made here
	Forbidden string   // folder no workspace may lie in
	Now       func() time.Time
	NewPID    func() string
	NewID     func() string
}

// Server implements the generated interface of the scheduler's routes.
type Server struct {
	cfg Config
	rt  Runtime
	db  eventstore.Querier
	hub *stream.Hub
	cat *catalogue
}

// New makes the ingress.
func New(cfg Config, rt Runtime, db eventstore.Querier, hub *stream.Hub) *Server {
	return &Server{cfg: cfg, rt: rt, db: db, hub: hub, cat: newCatalogue(rt, db)}
}

// commitLimit bounds how long a request waits for its commit.
const commitLimit = 10 * time.Second

func (s *Server) do(c echo.Context, pid string, cmd any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(c.Request().Context(), commitLimit)
	defer cancel()
	v, err := s.rt.Do(ctx, httpserver.Tenant(c), pid, cmd)
	if err != nil {
		if c.Request().Context().Err() == nil && ctx.Err() != nil {
			return nil, fault.Wrap(fault.Unavailable, "scheduler.ingress", "the request was not committed in time", err).
				WithFix("send it again with the same Idempotency-Key: it is done once")
		}
		return nil, err
	}
	raw, _ := v.(json.RawMessage)
	return raw, nil
}

func request(c echo.Context, route string) store.Request {
	key, hash := httpserver.IdempotencyKey(c)
	return store.Request{Route: route, Key: key, Hash: hash}
}

// CreateAgent implements POST /v1/agents.
func (s *Server) CreateAgent(c echo.Context, _ api.CreateAgentParams) error {
	var spec api.AgentSpec
	if err := httpserver.Decode(c, &spec); err != nil {
		return err
	}
	spawn := core.Defaults(spawned(spec))
	if err := core.Validate(spawn); err != nil {
		return err
	}
	ctx := c.Request().Context()
	var err error
	if spawn.ContextTokens, err = s.cat.check(ctx, spawn.Model, spawn.Tools); err != nil {
		return err
	}
	pid := s.cfg.NewPID()
	if spawn.Workspace, err = s.workspace(spawn.Workspace, pid); err != nil {
		return err
	}
	raw, err := s.do(c, pid, handle.Spawn{
		Spawn: spawn, Request: request(c, "POST /v1/agents"),
		Render: func(p store.Process) (json.RawMessage, error) { return events.Encode(view(p)) },
	})
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusCreated, raw)
}

func spawned(spec api.AgentSpec) agent.Spawned {
	priority := core.DefaultPriority
	if spec.Priority != nil {
		priority = *spec.Priority
	}
	tools := spec.Tools
	if tools == nil {
		tools = []string{}
	}
	return agent.Spawned{
		Name: spec.Name, Task: spec.Task, System: spec.System, Mode: string(spec.Mode), Model: spec.Model,
		Tools: tools, Priority: priority, Workspace: spec.Workspace,
		Limits: agent.Limits{
			MaxSteps: spec.Limits.MaxSteps, MaxTokens: spec.Limits.MaxTokens,
			MaxCostMicroUSD: int64(spec.Limits.MaxCostUSD*1e6 + 0.5), MaxOutputTokens: spec.Limits.MaxOutputTokens,
			IdleSeconds: spec.Limits.IdleSeconds, StepSeconds: spec.Limits.StepSeconds,
		},
	}
}

// workspace is the folder of a process: the one asked for, if it exists below an allowed root, or one
// of its own that the tools service makes when it is first needed.
func (s *Server) workspace(asked, pid string) (string, error) {
	const op = "scheduler.workspace"
	if asked == "" {
		if len(s.cfg.Roots) == 0 {
			return "", nil
		}
		return filepath.Join(s.cfg.Roots[0], pid), nil
	}
	resolved, err := filepath.EvalSymlinks(asked)
	if err != nil {
		return "", fault.Newf(fault.Invalid, op, "workspace %s does not exist on the kernel's machine", asked).
			WithFix("create the folder, or leave workspace out to get a new one")
	}
	if info, err := os.Stat(resolved); err != nil || !info.IsDir() {
		return "", fault.Newf(fault.Invalid, op, "workspace %s is not a folder", asked).WithFix("name a folder")
	}
	for _, root := range s.cfg.Roots {
		if below(root, resolved) && (!below(s.cfg.Forbidden, resolved) || strictlyBelow(s.cfg.Forbidden, root)) {
			return resolved, nil
		}
	}
	if below(s.cfg.Forbidden, resolved) {
		return "", fault.Newf(fault.Invalid, op, "workspace %s lies in the kernel's own data folder", asked).
			WithFix("use a folder elsewhere, or leave workspace out to get a new one")
	}
	return "", fault.Newf(fault.Invalid, op, "workspace %s is not below an allowed root (%s)", asked, strings.Join(s.cfg.Roots, ", ")).
		WithFix("start the kernel with --workspace-root for its parent folder")
}

// strictlyBelow reports whether path lies in root and is not root itself.
func strictlyBelow(root, path string) bool { return below(root, path) && !below(path, root) }

// below reports whether path is root or lies in it; both are absolute and clean. Nothing lies in "".
func below(root, path string) bool {
	if root == "" {
		return false
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	if resolved, err := filepath.EvalSymlinks(root); err == nil {
		root = resolved
	}
	rel, err := filepath.Rel(root, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// GetAgent implements GET /v1/agents/{pid}.
func (s *Server) GetAgent(c echo.Context, pid api.PID) error {
	p, err := store.Get(c.Request().Context(), s.db, httpserver.Tenant(c), pid)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, view(p))
}

// ListAgents implements GET /v1/agents.
func (s *Server) ListAgents(c echo.Context, params api.ListAgentsParams) error {
	limit, err := httpserver.PageLimit(params.Limit)
	if err != nil {
		return err
	}
	f := store.Filter{Limit: limit + 1}
	if params.State != nil {
		for _, st := range *params.State {
			if !known(core.Status(st)) {
				return fault.Newf(fault.Invalid, "scheduler.list", "state %q is none of ready, running, waiting, completed, failed, terminated", st).
					WithFix("name one of them, or leave state out for all")
			}
			f.States = append(f.States, string(st))
		}
	}
	if params.Name != nil {
		f.Name = *params.Name
	}
	if params.Cursor != nil {
		if !pid.Valid(*params.Cursor) {
			return fault.Newf(fault.Invalid, "scheduler.list", "cursor %q is not one of ours", *params.Cursor).
				WithFix("send next_cursor of the page before, or leave it out for the first page")
		}
		f.After = *params.Cursor
	}
	procs, err := store.List(c.Request().Context(), s.db, httpserver.Tenant(c), f)
	if err != nil {
		return err
	}
	page := api.AgentPage{Agents: []api.Agent{}}
	if len(procs) > limit {
		procs = procs[:limit]
		page.NextCursor = procs[limit-1].PID
	}
	for _, p := range procs {
		page.Agents = append(page.Agents, view(p))
	}
	return c.JSON(http.StatusOK, page)
}

func known(s core.Status) bool {
	_, ok := core.Transitions()[s]
	return s != "" && (ok || s.Ended() || s == core.Created || s == "suspended")
}

// SendMessage implements POST /v1/agents/{pid}/messages.
func (s *Server) SendMessage(c echo.Context, pid api.PID, _ api.SendMessageParams) error {
	var spec api.MessageSpec
	if err := httpserver.Decode(c, &spec); err != nil {
		return err
	}
	id := s.cfg.NewID()
	response, err := events.Encode(api.MessageAccepted{MessageID: id})
	if err != nil {
		return err
	}
	raw, err := s.do(c, pid, handle.Message{
		Message: agent.MessageReceived{MessageID: id, Content: spec.Content},
		Request: request(c, "POST /v1/agents/"+pid+"/messages"), Response: response,
	})
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusAccepted, raw)
}

// maxGrace bounds how long a terminate may wait.
const maxGrace = 24 * 3600

// SignalAgent implements POST /v1/agents/{pid}/signals.
func (s *Server) SignalAgent(c echo.Context, pid api.PID, _ api.SignalAgentParams) error {
	var spec api.SignalSpec
	if err := httpserver.Decode(c, &spec); err != nil {
		return err
	}
	grace := 10
	if spec.GraceSeconds != nil {
		grace = *spec.GraceSeconds
	}
	if grace < 0 || grace > maxGrace {
		return fault.Newf(fault.Invalid, "scheduler.signal", "grace_seconds is %d, it must be 0 to %d", grace, maxGrace).
			WithFix("leave it out for 10 s")
	}
	deadline := s.cfg.Now().UTC().Truncate(time.Microsecond)
	if spec.Signal == api.SignalTerminate {
		deadline = deadline.Add(time.Duration(grace) * time.Second)
	}
	response, err := events.Encode(api.SignalAccepted{PID: pid, Signal: spec.Signal, Deadline: deadline})
	if err != nil {
		return err
	}
	raw, err := s.do(c, pid, handle.Signal{
		Signal: string(spec.Signal), Deadline: deadline,
		Request: request(c, "POST /v1/agents/"+pid+"/signals"), Response: response,
	})
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusAccepted, raw)
}

// view is a process as clients see it.
func view(p store.Process) api.Agent {
	l := p.Spawn.Limits
	a := api.Agent{
		PID: p.PID, Name: p.Spawn.Name, State: api.AgentState(p.State), Mode: api.AgentMode(p.Spawn.Mode),
		Model: p.Spawn.Model, Priority: p.Spawn.Priority, Parent: p.Spawn.Parent, Workspace: p.Spawn.Workspace,
		Tools: p.Spawn.Tools, Result: p.Result, CostUSD: float64(p.Usage.CostMicroUSD) / 1e6,
		CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
		Limits: api.Limits{
			MaxSteps: l.MaxSteps, MaxTokens: l.MaxTokens, MaxCostUSD: float64(l.MaxCostMicroUSD) / 1e6,
			MaxOutputTokens: l.MaxOutputTokens, IdleSeconds: l.IdleSeconds, StepSeconds: l.StepSeconds,
		},
		Usage: api.Usage{
			Steps: p.Usage.Steps, ModelCalls: p.Usage.ModelCalls, ToolCalls: p.Usage.ToolCalls,
			InputTokens: p.Usage.InputTokens, CachedTokens: p.Usage.CachedTokens, OutputTokens: p.Usage.OutputTokens,
			Counted: p.Usage.Counted,
		},
	}
	if p.WaitReason != "" {
		a.Wait = &api.Wait{Reason: p.WaitReason, Until: p.WaitUntil}
	}
	switch p.State {
	case core.Completed:
		a.EndReason = p.Reason
	case core.Failed:
		a.Error = &api.AgentError{Code: p.Code, Reason: p.Reason}
	case core.Terminated:
		a.Error = &api.AgentError{Code: "terminated", Reason: p.Reason}
	case core.Created, core.Ready, core.Running, core.Waiting:
	}
	return a
}
