// Package httpapi serves the trajectory routes.
package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/api/learningapi"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
	"github.com/agentos-kernel/agentos/services/learning/internal/core"
	"github.com/agentos-kernel/agentos/services/learning/internal/store"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	// outcomeOpen stands for a process that has not ended.
	outcomeOpen = "open"
)

// API serves the routes tagged learning.
type API struct{ db eventstore.Querier }

var _ learningapi.ServerInterface = (*API)(nil)

// Register adds the routes to a group.
func Register(g *echo.Group, db eventstore.Querier) { learningapi.RegisterHandlers(g, &API{db: db}) }

// ListAgentStats implements learningapi.ServerInterface. The cursor is the last name of the page before.
func (a *API) ListAgentStats(c echo.Context, params api.ListAgentStatsParams) error {
	limit := defaultLimit
	if params.Limit != nil {
		limit = *params.Limit
	}
	if limit < 1 || limit > maxLimit {
		return fault.Newf(fault.Invalid, "learning.stats", "limit must be 1 to %d, not %d", maxLimit, limit).
			WithFix("ask for less and follow next_cursor")
	}
	stats, err := store.Stats(c.Request().Context(), a.db, httpserver.Tenant(c), text(params.Cursor), text(params.Name), limit+1)
	if err != nil {
		return err
	}
	page := api.AgentStatsPage{Agents: make([]api.AgentStats, 0, len(stats))}
	if len(stats) > limit {
		stats = stats[:limit]
		page.NextCursor = stats[limit-1].Name
	}
	for _, s := range stats {
		page.Agents = append(page.Agents, agentStats(s))
	}
	return c.JSON(http.StatusOK, page)
}

func agentStats(s core.Stats) api.AgentStats {
	out := api.AgentStats{
		Name: s.Name, Runs: s.Runs, Completed: s.Completed, Failed: s.Failed, Terminated: s.Terminated, Open: s.Open,
		Steps: s.Steps, ToolCalls: s.ToolCalls, InputTokens: s.InputTokens, OutputTokens: s.OutputTokens,
		CostUSD: usd(s.CostMicroUSD),
	}
	if rate, ok := s.SuccessRate(); ok {
		out.SuccessRate = &rate
	}
	return out
}

// GetTrajectory implements learningapi.ServerInterface.
func (a *API) GetTrajectory(c echo.Context, pid api.PID) error {
	ctx, key := c.Request().Context(), store.Key{Tenant: httpserver.Tenant(c), PID: pid}
	head, err := store.Head(ctx, a.db, key)
	if err != nil {
		return err
	}
	if head.StartedAt.IsZero() {
		return fault.Newf(fault.NotFound, "learning.trajectory", "there is no trajectory of %s", pid).
			WithFix("`agentos ps` lists the processes; one started a moment ago appears within a second")
	}
	steps, err := store.Steps(ctx, a.db, key)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, document(pid, &head, steps))
}

func document(pid string, h *core.Head, steps []core.Step) api.Trajectory {
	t := api.Trajectory{
		PID: pid, Name: h.Name, Model: h.Model, Outcome: h.Outcome, Reason: h.Reason, StartedAt: h.StartedAt,
		CostUSD: usd(h.Usage.CostMicroUSD),
		Usage: api.Usage{
			Steps: h.Usage.Steps, ModelCalls: h.Usage.ModelCalls, ToolCalls: h.Usage.ToolCalls,
			InputTokens: h.Usage.InputTokens, CachedTokens: h.Usage.CachedTokens,
			OutputTokens: h.Usage.OutputTokens, Counted: h.Usage.Counted,
		},
		Steps: make([]api.TrajectoryStep, 0, len(steps)),
	}
	if h.Outcome == "" {
		t.Outcome = outcomeOpen
	} else {
		t.EndedAt = &h.EndedAt
	}
	for i := range steps {
		if f := steps[i].Frame; f != nil {
			t.Task, t.Result = f.Task, f.Result
		}
		if steps[i].Step > 0 {
			t.Steps = append(t.Steps, stepDocument(&steps[i]))
		}
	}
	return t
}

func stepDocument(s *core.Step) api.TrajectoryStep {
	out := api.TrajectoryStep{Step: s.Step, ToolCalls: make([]api.TrajectoryToolCall, 0, len(s.Tools))}
	for _, m := range s.Messages {
		out.Messages = append(out.Messages, api.TrajectoryMessage{ID: m.ID, Content: m.Content})
	}
	if w := s.Window; w != nil {
		out.Window = &api.TrajectoryWindow{Hash: w.Hash, Pages: w.Pages, Tokens: w.Tokens, Evicted: w.Evicted, Refused: w.Refused}
	}
	if c := s.Call; c != nil {
		out.Reply = c.Reply
		out.ModelCall = &api.TrajectoryModelCall{
			CallID: c.ID, Model: c.Model, Attempts: c.Attempts, Outcome: c.Outcome, Reason: c.Reason,
			FinishReason: c.FinishReason, InputTokens: c.Usage.InputTokens, CachedTokens: c.Usage.CachedTokens,
			OutputTokens: c.Usage.OutputTokens, CostUSD: usd(c.Usage.CostMicroUSD), Counted: c.Usage.Counted,
			FirstTokenMs: c.FirstTokenMS, DurationMs: c.DurationMS,
		}
	}
	for _, t := range s.Tools {
		out.ToolCalls = append(out.ToolCalls, api.TrajectoryToolCall{
			CallID: t.ID, Index: t.Index, Name: t.Name, Class: t.Class, Decision: t.Decision, Rule: t.Rule,
			Outcome: t.Outcome, Reason: t.Reason, DurationUs: t.DurationUS,
		})
	}
	return out
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func usd(micro int64) float64 { return float64(micro) / 1e6 }
