// Package httpapi shows the registry of tools over HTTP.
package httpapi

import (
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/api"
	toolevent "github.com/agentos-kernel/agentos/events/tool"
)

// Registry lists the sets of tools that can be named, and what is wrong with those that cannot.
type Registry interface {
	Sets() (sets []toolevent.Set, problems []error)
}

// Server implements the generated interface of the tools routes.
type Server struct {
	registry Registry
	log      *slog.Logger
}

// New makes the server.
func New(registry Registry, log *slog.Logger) *Server { return &Server{registry: registry, log: log} }

// ListTools implements GET /v1/tools: the tools as this replica finds them now. A set nobody knows
// gives an empty list.
func (s *Server) ListTools(c echo.Context, params api.ListToolsParams) error {
	sets, problems := s.registry.Sets()
	for _, p := range problems {
		s.log.WarnContext(c.Request().Context(), "tool set left out", "error", p)
	}
	list := api.ToolList{Sets: []api.ToolSet{}}
	for _, set := range sets {
		if params.Set == nil || *params.Set == set.Name {
			list.Sets = append(list.Sets, toolSet(set))
		}
	}
	return c.JSON(http.StatusOK, list) //nolint:wrapcheck // the client went away: echo's business
}

func toolSet(set toolevent.Set) api.ToolSet {
	out := api.ToolSet{Name: set.Name, Tools: []api.Tool{}}
	for _, t := range set.Tools {
		out.Tools = append(out.Tools, api.Tool{
			Name: t.Spec.Name, Description: t.Spec.Description, Parameters: t.Spec.Parameters, Class: t.Class,
		})
	}
	return out
}
