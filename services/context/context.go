// Package contextsvc owns address spaces: what was said becomes pages, and for every granted step the
// pages become the window that the model sees.
package contextsvc

import (
	"context"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/api/contextapi"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/chat"
	contextevents "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/tokens"
	"github.com/agentos-kernel/agentos/services/context/internal/core"
	"github.com/agentos-kernel/agentos/services/context/internal/httpapi"
)

// Service is the context service.
type Service struct {
	streams *service.Streams[core.State]
	rt      *service.Runtime
}

// New makes the service; Bind must follow.
func New() *Service {
	return &Service{streams: Fold().Streams()}
}

// Fold is how address spaces are made of their streams.
func Fold() service.Fold[core.State] {
	return service.Fold[core.State]{
		Family: events.Context, Evolve: core.Evolve, Codec: core.Codec, Encode: core.Encode, Decode: core.Decode,
	}
}

// Bind ties the service to its runtime.
func (s *Service) Bind(rt *service.Runtime) { s.rt = rt }

// Definition describes the service to the harness.
func (s *Service) Definition() service.Definition {
	return service.Definition{
		Name: "context", Family: events.Context,
		Consumes: []events.Family{events.Agent, events.LLM, events.Tool},
		Uses: []events.Event{
			agent.Spawned{},
			agent.StepGranted{},
			agent.MessageDelivered{},
			llm.CallFinished{},
			tool.CallFinished{},
			tool.CallFailed{},
			tool.CallCancelled{},
		},
		Handle: s.handle,
		Fold:   Fold(),
		After:  after,
		Routes: func(g *echo.Group) {
			contextapi.RegisterHandlers(g, httpapi.New(s.rt.DB(), s.rt.Decode, core.Evolve))
		},
	}
}

// after names what a grant rests on: the replies and tool results of the steps before it.
func after(in *service.Input) []service.Dependency {
	g, ok := in.Event.(agent.StepGranted)
	if !ok {
		return nil
	}
	return []service.Dependency{
		{Stream: events.LLM.Stream(in.Subject), Version: g.After.LLM},
		{Stream: events.Tool.Stream(in.Subject), Version: g.After.Tool},
	}
}

func (s *Service) handle(ctx context.Context, u *service.Unit, in *service.Input) error {
	pages := pagesOf(in.Event)
	grant, granted := in.Event.(agent.StepGranted)
	delivered, isMessage := in.Event.(agent.MessageDelivered)
	if len(pages) == 0 && !granted && !isMessage {
		return nil
	}
	st, err := s.streams.Load(ctx, u, in.Tenant, in.Subject)
	if err != nil {
		return err
	}
	if isMessage && !core.Delivered(st.State, delivered.MessageID) {
		pages = append(pages, page{
			contextevents.Source{
				Kind: contextevents.SourceMessage, Step: delivered.Step,
				Index: core.NextIndex(st.State, delivered.Step), Ref: delivered.MessageID,
			},
			chat.Text(chat.User, delivered.Content),
		})
	}
	for _, p := range pages {
		st.Append(core.Write(st.State, p.source, p.message, tokens.Message("", p.message))...)
	}
	if granted {
		st.Append(core.Assemble(st.State, grant, len(grant.Tools))...)
	}
	return nil
}

type page struct {
	source  contextevents.Source
	message chat.Message
}

// pagesOf is what a fact adds to the conversation.
func pagesOf(e events.Event) []page {
	switch e := e.(type) {
	case agent.Spawned:
		var out []page
		if e.System != "" {
			out = append(out, page{contextevents.Source{Kind: contextevents.SourceSystem}, chat.Text(chat.System, e.System)})
		}
		return append(out, page{contextevents.Source{Kind: contextevents.SourceTask}, chat.Text(chat.User, e.Task)})
	case llm.CallFinished:
		return []page{{contextevents.Source{Kind: contextevents.SourceReply, Step: e.Call.Step, Ref: e.Call.ID}, e.Message}}
	case tool.CallFinished:
		return []page{{result(e.Call), chat.Result(e.Call.Request, e.Result)}}
	case tool.CallFailed:
		return []page{{result(e.Call), chat.Result(e.Call.Request, "error: "+e.Reason)}}
	case tool.CallCancelled:
		return []page{{result(e.Call), chat.Result(e.Call.Request, "error: cancelled: "+e.Reason)}}
	}
	return nil
}

func result(c tool.Call) contextevents.Source {
	return contextevents.Source{Kind: contextevents.SourceToolResult, Step: c.Step, Index: c.Index, Ref: c.ID}
}
