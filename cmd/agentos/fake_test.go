package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/api/auditapi"
	"github.com/agentos-kernel/agentos/api/contextapi"
	"github.com/agentos-kernel/agentos/api/learningapi"
	"github.com/agentos-kernel/agentos/api/llmgatewayapi"
	"github.com/agentos-kernel/agentos/api/schedulerapi"
	"github.com/agentos-kernel/agentos/api/toolsapi"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
)

const (
	fakeKey = "fake-key"
	fakePID = "p06ar2vr4t7m0yc8h3n5wq1zs8d"
)

// fake is a kernel of one process that plays a fixed story. It stands on the real HTTP server and the
// generated interfaces, so that the verbs are tested against the contract and not against themselves.
type fake struct {
	mu      sync.Mutex
	spec    api.AgentSpec // as it arrived
	started time.Time
	badLog  bool
}

var (
	_ schedulerapi.ServerInterface  = (*fake)(nil)
	_ contextapi.ServerInterface    = (*fake)(nil)
	_ llmgatewayapi.ServerInterface = (*fake)(nil)
	_ toolsapi.ServerInterface      = (*fake)(nil)
	_ auditapi.ServerInterface      = (*fake)(nil)
	_ learningapi.ServerInterface   = (*fake)(nil)
)

// serveFake starts a fake kernel; close it when the test ends.
func serveFake(f *fake) (*httptest.Server, error) {
	s, err := httpserver.New(httpserver.Config{
		APIKeys: httpserver.StaticKey(fakeKey, events.DefaultTenant), Logger: slog.New(slog.DiscardHandler), Spec: api.Spec(),
	})
	if err != nil {
		return nil, err
	}
	f.started = time.Now().Add(-3 * time.Hour)
	schedulerapi.RegisterHandlers(s.Group(), f)
	contextapi.RegisterHandlers(s.Group(), f)
	llmgatewayapi.RegisterHandlers(s.Group(), f)
	toolsapi.RegisterHandlers(s.Group(), f)
	auditapi.RegisterHandlers(s.Group(), f)
	learningapi.RegisterHandlers(s.Group(), f)
	return httptest.NewServer(s.Handler()), nil
}

// CreateAgent refuses the model "none"; the agent's name decides how the story ends.
func (f *fake) CreateAgent(c echo.Context, _ api.CreateAgentParams) error {
	var spec api.AgentSpec
	if err := httpserver.Decode(c, &spec); err != nil {
		return err
	}
	if spec.Model == "none" {
		return fault.New(fault.Invalid, "fake", `model "none" is unknown`).WithFix("use one of GET /v1/models")
	}
	f.mu.Lock()
	f.spec = spec
	f.mu.Unlock()
	return c.JSON(http.StatusCreated, f.agent(api.StateReady))
}

func (f *fake) agent(state api.AgentState) api.Agent {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := api.Agent{
		PID: fakePID, Name: f.spec.Name, State: state, Mode: f.spec.Mode, Model: f.spec.Model, Priority: 50,
		Tools: f.spec.Tools, Limits: f.spec.Limits, Workspace: f.spec.Workspace, CreatedAt: f.started, UpdatedAt: f.started,
		Usage:   api.Usage{Steps: 2, ModelCalls: 2, ToolCalls: 1, InputTokens: 30, OutputTokens: 12, Counted: f.spec.Name == "counted"},
		CostUSD: 0.0021,
	}
	if f.spec.Priority != nil {
		a.Priority = *f.spec.Priority
	}
	switch state {
	case api.StateCompleted:
		a.Result = "It is 391."
	case api.StateFailed:
		a.Error = &api.AgentError{Code: "quota", Reason: "used 2 of 2 steps"}
	case api.StateTerminated:
		a.Error = &api.AgentError{Code: "terminated", Reason: "killed"}
	case api.StateWaiting:
		a.Wait = &api.Wait{Reason: "message"}
	case api.StateCreated, api.StateReady, api.StateRunning, api.StateSuspended:
	}
	return a
}

// end is how the story ends: by the agent's name.
func (f *fake) end() (api.AgentState, events.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.spec.Name {
	case "fails":
		return api.StateFailed, agent.Failed{Code: "quota", Reason: "used 2 of 2 steps"}
	case "killed":
		return api.StateTerminated, agent.Terminated{Signal: "kill", Reason: "killed"}
	}
	return api.StateCompleted, agent.Completed{Result: "It is 391.", Reason: "answered"}
}

func (f *fake) known(pid string) error {
	if pid == fakePID {
		return nil
	}
	return fault.Newf(fault.NotFound, "fake", "there is no process %s", pid).WithFix("list processes with agentos ps")
}

// ListAgents has three processes on three pages.
func (f *fake) ListAgents(c echo.Context, params api.ListAgentsParams) error {
	states := []api.AgentState{api.StateWaiting, api.StateFailed, api.StateCompleted}
	at := 0
	if params.Cursor != nil {
		at, _ = strconv.Atoi(*params.Cursor)
	}
	a := f.agent(states[at])
	a.PID, a.Name = fmt.Sprintf("p%d", 3-at), "reporter"
	page := api.AgentPage{Agents: []api.Agent{a}}
	if params.State != nil && !strings.Contains(fmt.Sprint(*params.State), string(a.State)) || params.Name != nil && *params.Name != a.Name {
		page.Agents = []api.Agent{}
	}
	if at < 2 {
		page.NextCursor = strconv.Itoa(at + 1)
	}
	return c.JSON(http.StatusOK, page)
}

func (f *fake) GetAgent(c echo.Context, pid string) error {
	if err := f.known(pid); err != nil {
		return err
	}
	state, _ := f.end()
	return c.JSON(http.StatusOK, f.agent(state))
}

func (f *fake) SendMessage(c echo.Context, pid string, _ api.SendMessageParams) error {
	if err := f.known(pid); err != nil {
		return err
	}
	var spec api.MessageSpec
	if err := httpserver.Decode(c, &spec); err != nil {
		return err
	}
	if spec.Content == "too late" {
		return fault.New(fault.Conflict, "fake", "the process has ended").WithFix("start a new one with agentos run")
	}
	return c.JSON(http.StatusAccepted, api.MessageAccepted{MessageID: "m-" + strconv.Itoa(len(spec.Content))})
}

func (f *fake) SignalAgent(c echo.Context, pid string, _ api.SignalAgentParams) error {
	if err := f.known(pid); err != nil {
		return err
	}
	var spec api.SignalSpec
	if err := httpserver.Decode(c, &spec); err != nil {
		return err
	}
	grace := 0
	if spec.GraceSeconds != nil {
		grace = *spec.GraceSeconds
	}
	at := time.Date(2026, 1, 1, 0, 0, grace, 0, time.UTC)
	return c.JSON(http.StatusAccepted, api.SignalAccepted{PID: pid, Signal: spec.Signal, Deadline: at})
}

// story is what happens to the process, as events.
func (f *fake) story() []api.Event {
	call := tool.Call{ID: fakePID + "/1/0", Step: 1, Request: chat.ToolCall{Function: chat.FunctionCall{Name: "calculator"}}}
	first := chat.Message{Role: chat.Assistant, ToolCalls: []chat.ToolCall{call.Request}}
	_, last := f.end()
	var story []api.Event
	for i, fact := range []events.Event{
		agent.Spawned{Name: f.agent(api.StateReady).Name, Model: "replay/sums", Mode: "task", Priority: 50},
		agent.StepGranted{Step: 1, RemainingSteps: 20, RemainingTokens: 1000},
		llm.CallFinished{Call: llm.Call{Step: 1}, Message: first, DurationMS: 1400, Usage: llm.Usage{InputTokens: 10, CachedTokens: 4, OutputTokens: 5, CostMicroUSD: 1100}},
		tool.CallDecided{Call: call, Decision: tool.Allow},
		tool.CallFinished{Call: call, Result: "391", DurationUS: 250},
		llm.CallFinished{Call: llm.Call{Step: 2}, Message: chat.Text(chat.Assistant, "It is 391."), DurationMS: 900, Usage: llm.Usage{InputTokens: 20, OutputTokens: 7, CostMicroUSD: 1000}},
		last,
	} {
		data, err := events.Encode(fact)
		if err != nil {
			data = []byte(`{}`)
		}
		story = append(story, api.Event{
			Position: int64(10 * (i + 1)), ID: fmt.Sprintf("e%d", i+1), Stream: string(events.FamilyOf(fact.Kind())) + "/" + fakePID,
			StreamVersion: 1, Kind: fact.Kind(), SchemaVersion: fact.SchemaVersion(), Time: f.started, Data: data,
		})
	}
	return story
}

func (f *fake) ListEvents(c echo.Context, pid string, params api.ListEventsParams) error {
	if err := f.known(pid); err != nil {
		return err
	}
	var after int64
	if params.After != nil {
		after = *params.After
	}
	if httpserver.WantsStream(c) {
		return f.stream(c, after, params.Deltas != nil && *params.Deltas)
	}
	page := api.EventPage{Events: []api.Event{}, NextAfter: after}
	for _, ev := range f.story() {
		if ev.Position > after {
			page.Events, page.NextAfter, page.More = []api.Event{ev}, ev.Position, ev.Position < 70
			break // one a page, so that the client must turn many
		}
	}
	return c.JSON(http.StatusOK, page)
}

func (f *fake) stream(c echo.Context, after int64, deltas bool) error {
	s, err := httpserver.SSE(c)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, ev := range f.story() {
		if deltas && ev.Position == 60 {
			for i, text := range []string{"It is ", "391."} {
				d, err := json.Marshal(api.Delta{CallID: fakePID + "/2/0", Step: 2, Attempt: 1, Offset: int64(i + 1), Text: text})
				if err != nil {
					return err
				}
				if err := s.Event(fmt.Sprintf("%s/2/0/1/%d", fakePID, i+1), "delta", d); err != nil {
					return err
				}
			}
		}
		data, err := json.Marshal(ev)
		if err != nil {
			return err
		}
		if ev.Position <= after {
			continue
		}
		if err := s.Event(strconv.FormatInt(ev.Position, 10), ev.Kind, data); err != nil {
			return err
		}
	}
	return nil
}
