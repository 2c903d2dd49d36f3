// Package httpapi answers the gateway's HTTP routes.
package httpapi

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/api/llmgatewayapi"
	"github.com/agentos-kernel/agentos/events/llm"
)

var _ llmgatewayapi.ServerInterface = (*API)(nil)

// API implements the routes of the gateway.
type API struct{ models func() []llm.Model }

// New answers from a catalogue.
func New(models func() []llm.Model) *API { return &API{models: models} }

// ListModels answers with the models that can be named.
func (a *API) ListModels(c echo.Context, params api.ListModelsParams) error {
	list := api.ModelList{Models: []api.Model{}}
	for _, m := range a.models() {
		if params.Provider != nil && !strings.HasPrefix(m.ID, *params.Provider+"/") {
			continue
		}
		list.Models = append(list.Models, api.Model{
			ID: m.ID, ContextTokens: m.ContextTokens, Source: api.ModelSource(m.Source),
			InputUSDPerMtok: dollars(m.InputMicro), CachedUSDPerMtok: dollars(m.CachedMicro), OutputUSDPerMtok: dollars(m.OutputMicro),
		})
	}
	return c.JSON(http.StatusOK, list) //nolint:wrapcheck // echo's own error
}

// dollars is a price in US dollars; nil when it is unknown.
func dollars(micro int64) *float64 {
	if micro < 0 {
		return nil
	}
	usd := float64(micro) / 1e6
	return &usd
}
