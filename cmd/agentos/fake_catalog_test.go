package main

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// GetContext has a secret in it, which a recording must not have.
func (f *fake) GetContext(c echo.Context, pid string, _ api.GetContextParams) error {
	if err := f.known(pid); err != nil {
		return err
	}
	call := chat.ToolCall{ID: "c1", Type: "function", Function: chat.FunctionCall{Name: "calculator", Arguments: `{"x":"17*23"}`}}
	messages := []chat.Message{
		chat.Text(chat.User, "What is 17 * 23? My key is very-secret-value."),
		{Role: chat.Assistant, ToolCalls: []chat.ToolCall{call}},
		chat.Result(call, "391"),
		chat.Text(chat.Assistant, "It is 391."),
	}
	got := api.Context{PID: pid, Tokens: 40}
	for _, m := range messages {
		got.Pages = append(got.Pages, api.Page{Hash: m.Hash(), Message: m, InWindow: true})
	}
	return c.JSON(http.StatusOK, got)
}

func (*fake) ListModels(c echo.Context, _ api.ListModelsParams) error {
	return c.JSON(http.StatusOK, api.ModelList{Models: []api.Model{
		{ID: "openai/*", Source: api.SourceProvider}, {ID: "replay/sums", Source: api.SourceScript},
	}})
}

func (*fake) ListTools(c echo.Context, _ api.ListToolsParams) error {
	schema := json.RawMessage(`{"type":"object"}`)
	return c.JSON(http.StatusOK, api.ToolList{Sets: []api.ToolSet{
		{Name: "builtin", Tools: []api.Tool{{Name: "calculator", Parameters: schema}, {Name: "read_file", Parameters: schema}}},
		{Name: "replay/airline", Tools: []api.Tool{{Name: "calculator", Parameters: schema}}},
	}})
}

func (f *fake) GetAuditHead(c echo.Context) error {
	return c.JSON(http.StatusOK, api.AuditHead{Size: 7, Root: "ab", Note: "agentos\n7\nq80=\n", VerifierKey: "agentos+1"})
}

func (f *fake) VerifyAudit(c echo.Context) error {
	v := api.AuditVerification{OK: !f.badLog, Size: 7, Root: "ab"}
	if f.badLog {
		v.FirstBad = &api.AuditBad{Index: 3, Reason: "its bytes changed"}
	}
	return c.JSON(http.StatusOK, v)
}

func (f *fake) GetAuditProof(c echo.Context, eventID string) error {
	if eventID != "e1" {
		return fault.New(fault.NotFound, "fake", "no such event in the log")
	}
	return c.JSON(http.StatusOK, api.AuditProof{EventID: eventID, Index: 0, Size: 7, LeafHash: "aa", Proof: []string{"bb", "cc"}, Root: "ab", Note: "note\n"})
}

func (f *fake) ListAgentStats(c echo.Context, _ api.ListAgentStatsParams) error {
	rate := 0.75
	return c.JSON(http.StatusOK, api.AgentStatsPage{Agents: []api.AgentStats{
		{Name: "airline", Runs: 5, Open: 1, Completed: 3, Failed: 1, SuccessRate: &rate, Steps: 40, InputTokens: 900, OutputTokens: 100, CostUSD: 0.5},
		{Name: "new", Runs: 1, Open: 1},
	}})
}

func (f *fake) GetTrajectory(c echo.Context, pid string) error {
	if err := f.known(pid); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, api.Trajectory{
		PID: pid, Name: "reporter", Outcome: "completed", Reason: "answered", Model: "replay/sums", CostUSD: 0.0021,
		Usage: api.Usage{Steps: 1, InputTokens: 30, OutputTokens: 12, Counted: true}, StartedAt: f.started,
		Steps: []api.TrajectoryStep{{
			Step:      1,
			ModelCall: &api.TrajectoryModelCall{Model: "replay/sums", Outcome: "finished", FinishReason: "tool_calls", InputTokens: 10, OutputTokens: 5, CostUSD: 0.0011, DurationMs: 1400},
			ToolCalls: []api.TrajectoryToolCall{{Name: "calculator", Decision: "allow", Outcome: "finished", DurationUs: 250}},
		}},
	})
}
