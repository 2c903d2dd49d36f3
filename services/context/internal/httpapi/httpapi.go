// Package httpapi shows address spaces over HTTP.
package httpapi

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
	contextevents "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
	"github.com/agentos-kernel/agentos/services/context/internal/core"
)

// Server implements the generated interface of the context routes.
type Server struct {
	db     eventstore.Querier
	decode func(events.Record) (events.Event, error)
	evolve func(core.State, events.Event) core.State
}

// New makes the server.
func New(db eventstore.Querier, decode func(events.Record) (events.Event, error), evolve func(core.State, events.Event) core.State) *Server {
	return &Server{db: db, decode: decode, evolve: evolve}
}

// GetContext implements GET /v1/agents/{pid}/context: the conversation as it is now, folded from the
// process's own stream.
func (s *Server) GetContext(c echo.Context, pid api.PID, params api.GetContextParams) error {
	const op = "context.get"
	limit, err := httpserver.PageLimit(params.Limit)
	if err != nil {
		return err
	}
	from := 0
	if params.Cursor != nil {
		if from, err = strconv.Atoi(*params.Cursor); err != nil || from < 0 {
			return fault.New(fault.Invalid, op, "cursor is not one of ours").WithFix("send next_cursor of the page before")
		}
	}
	recs, err := eventstore.ReadStream(c.Request().Context(), s.db, httpserver.Tenant(c), events.Context.Stream(pid), 0, 0)
	if err != nil {
		return err
	}
	if len(recs) == 0 {
		return fault.Newf(fault.NotFound, op, "no process %q has a context", pid).WithFix("`agentos ps` lists the processes")
	}
	var st core.State
	content := map[string]chat.Message{}
	for _, r := range recs {
		e, err := s.decode(r)
		if err != nil {
			return err
		}
		if p, ok := e.(contextevents.PageWritten); ok && p.Message != nil {
			content[p.Hash] = *p.Message
		}
		st = s.evolve(st, e)
	}
	return c.JSON(http.StatusOK, view(pid, st, content, from, limit))
}

func view(pid string, st core.State, content map[string]chat.Message, from, limit int) api.Context {
	out := api.Context{
		PID: pid, Pages: []api.Page{},
		Window: api.Window{Hash: st.Hash, Pages: len(st.Window), Step: st.Step, Evicted: st.Evicted},
	}
	shown := map[string]bool{}
	for _, h := range st.Window {
		shown[h] = true
	}
	for i, p := range st.Pages {
		out.Tokens += p.Tokens
		if i < from || i >= from+limit {
			continue
		}
		out.Pages = append(out.Pages, api.Page{
			Hash: p.Hash, Tokens: p.Tokens, Message: content[p.Hash], Source: p.Source.Kind, Step: p.Source.Step,
			Index: p.Source.Index, Ref: p.Source.Ref, InWindow: shown[p.Hash],
		})
	}
	if from+limit < len(st.Pages) {
		out.NextCursor = strconv.Itoa(from + limit)
	}
	return out
}
