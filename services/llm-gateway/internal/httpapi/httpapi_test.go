package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/api/llmgatewayapi"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/httpapi"
)

func TestListModels(t *testing.T) {
	t.Parallel()
	e := echo.New()
	llmgatewayapi.RegisterHandlers(e, httpapi.New(func() []llm.Model {
		return []llm.Model{
			{ID: "openai/gpt", ContextTokens: 1000, InputMicro: 2_500_000, CachedMicro: 0, OutputMicro: -1, Source: "provider"},
			{ID: "replay/airline", Source: "recording"},
		}
	}))
	get := func(path string) (got map[string]any) {
		rec := httptest.NewRecorder()
		e.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		if rec.Code != http.StatusOK || json.Unmarshal(rec.Body.Bytes(), &got) != nil {
			t.Fatalf("status %d: %s", rec.Code, rec.Body)
		}
		return got
	}
	gpt := map[string]any{
		"id": "openai/gpt", "context_tokens": 1000.0, "source": "provider", "input_usd_per_mtok": 2.5, "cached_usd_per_mtok": 0.0,
	}
	airline := map[string]any{
		"id": "replay/airline", "context_tokens": 0.0, "source": "recording",
		"input_usd_per_mtok": 0.0, "cached_usd_per_mtok": 0.0, "output_usd_per_mtok": 0.0,
	}
	if diff := cmp.Diff(map[string]any{"models": []any{gpt, airline}}, get("/v1/models")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"models": []any{airline}}, get("/v1/models?provider=replay")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"models": []any{}}, get("/v1/models?provider=open")); diff != "" {
		t.Error(diff)
	}
}
