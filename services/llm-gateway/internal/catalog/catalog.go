// Package catalog knows which models can be named, who answers for them and what they cost.
package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider/openai"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider/replay"
)

// Catalog resolves model names. It is safe for concurrent use.
type Catalog struct {
	library *cassette.Library
	replay  *replay.Provider
	rows    []*server
	prices  []priced
	client  *http.Client
}

// server is a row with what was found out about it.
type server struct {
	Row
	provider *openai.Provider

	mu    sync.Mutex
	found bool     // it answered when it was asked last
	ids   []served // the models it said it has
}

type served struct {
	id      string
	context int // tokens; 0: it does not say
}

// Target is who answers for a model.
type Target struct {
	Provider      provider.Provider
	Name          string // of the provider
	Upstream      string // the model's name there
	Price         core.Price
	ContextTokens int // 0: unknown
	Recorded      bool
	// Ended reports whether the messages with this chain hash are a whole recording; nil for real models.
	Ended func(chain string) (bool, error)
}

// New makes a catalogue of the rows and the library's cassettes. Errors are Invalid and name the row.
func New(rows []Row, library *cassette.Library) (*Catalog, error) {
	prices, err := loadPrices()
	if err != nil {
		return nil, err
	}
	c := &Catalog{
		library: library, replay: replay.New(library), prices: prices,
		client: &http.Client{Timeout: probeLimit},
	}
	for _, r := range rows {
		if r.Name == "" || r.Name == Replay || strings.Contains(r.Name, "/") {
			return nil, fault.Newf(fault.Invalid, "catalog.new", "a provider cannot be named %q", r.Name)
		}
		p, err := r.provider()
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", r.Name, err)
		}
		c.rows = append(c.rows, &server{Row: r, provider: p})
	}
	return c, nil
}

// Resolve finds who answers for "provider/model". Errors: NotFound (no such provider or model),
// Unavailable (an engine that does not run); their fix says what to do.
func (c *Catalog) Resolve(model string) (Target, error) {
	const op = "catalog.resolve"
	name, id, ok := strings.Cut(model, "/")
	if !ok || id == "" {
		return Target{}, fault.Newf(fault.NotFound, op, "%q is not a model name", model).
			WithFix(`name it as "provider/model"; agentos or GET /v1/models lists them`)
	}
	if name == Replay {
		if _, err := c.library.Get(id); err != nil {
			return Target{}, err //nolint:wrapcheck // a fault that says it all
		}
		return Target{
			Provider: c.replay, Name: Replay, Upstream: id, Price: core.Price{Known: true}, Recorded: true,
			Ended: func(chain string) (bool, error) { return c.replay.Ended(id, chain) },
		}, nil
	}
	for _, s := range c.rows {
		if s.Name == name {
			return c.target(s, id)
		}
	}
	e := fault.Newf(fault.NotFound, op, "no provider %q is set up", name)
	if name == OpenAI {
		return Target{}, e.WithFix("set OPENAI_API_KEY, or OPENAI_BASE_URL to a server with the same interface, and start again")
	}
	return Target{}, e.WithFix("GET /v1/models lists the models that can be named")
}

func (c *Catalog) target(s *server, id string) (Target, error) {
	const op = "catalog.resolve"
	s.mu.Lock()
	found, ids := s.found, s.ids
	s.mu.Unlock()
	if s.OnlyFound && !found {
		return Target{}, fault.Newf(fault.Unavailable, op, "%s does not answer at %s", s.Name, s.BaseURL).
			WithFix("start it, or name another model")
	}
	t := Target{Provider: s.provider, Name: s.Name, Upstream: id}
	switch {
	case s.local():
		t.Price = core.Price{Known: true}
		i := slices.IndexFunc(ids, func(m served) bool { return m.id == id })
		if i < 0 && len(ids) > 0 {
			return Target{}, fault.Newf(fault.NotFound, op, "%s at %s has no model %q", s.Name, s.BaseURL, id).
				WithFix("it has: " + nameList(ids))
		}
		if i >= 0 {
			t.ContextTokens = ids[i].context
		}
	case s.official():
		if i := slices.IndexFunc(c.prices, func(p priced) bool { return p.ID == id }); i >= 0 {
			t.Price, t.ContextTokens = c.prices[i].price(), c.prices[i].ContextTokens
		}
	}
	if t.ContextTokens == 0 {
		t.ContextTokens = s.provider.ContextTokens(id)
	}
	return t, nil
}

func nameList(ids []served) string {
	const most = 10
	names := make([]string, 0, len(ids))
	for _, m := range ids[:min(len(ids), most)] {
		names = append(names, m.id)
	}
	if len(ids) > most {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// Models is the catalogue as it is now, sorted by name.
func (c *Catalog) Models() []llm.Model {
	models := []llm.Model{}
	for _, e := range c.library.List() {
		if e.Err != nil {
			continue
		}
		source := "recording"
		if e.Header.Origin == cassette.OriginScript {
			source = "script"
		}
		models = append(models, llm.Model{ID: Replay + "/" + e.Name, Source: source})
	}
	for _, s := range c.rows {
		models = append(models, c.offered(s)...)
	}
	slices.SortFunc(models, func(a, b llm.Model) int { return strings.Compare(a.ID, b.ID) })
	return models
}

func (c *Catalog) offered(s *server) []llm.Model {
	s.mu.Lock()
	found, ids := s.found, s.ids
	s.mu.Unlock()
	if s.OnlyFound && !found {
		return nil
	}
	row := func(id string, context int, p core.Price) llm.Model {
		m := llm.Model{ID: s.Name + "/" + id, ContextTokens: context, InputMicro: -1, CachedMicro: -1, OutputMicro: -1, Source: "provider"}
		if m.ContextTokens == 0 {
			m.ContextTokens = s.provider.ContextTokens(id)
		}
		if p.Known {
			m.InputMicro, m.CachedMicro, m.OutputMicro = p.Input, p.Cached, p.Output
		}
		return m
	}
	var models []llm.Model
	others := core.Price{Known: s.local()}
	switch {
	case s.local() && len(ids) > 0:
		for _, m := range ids {
			models = append(models, row(m.id, m.context, others))
		}
		return models
	case s.official():
		for _, p := range c.prices {
			models = append(models, row(p.ID, p.ContextTokens, p.price()))
		}
	}
	return append(models, row("*", 0, others))
}

// probeLimit is the longest wait for a server's list of models.
const probeLimit = 2 * time.Second

// Refresh asks the servers on this machine which models they have.
func (c *Catalog) Refresh(ctx context.Context) {
	for _, s := range c.rows {
		if !s.local() && !s.OnlyFound {
			continue // its models are known by name; asking would need the network
		}
		ids, err := c.probe(ctx, s.Row)
		s.mu.Lock()
		s.found = err == nil
		if err == nil {
			s.ids = ids
		}
		s.mu.Unlock()
	}
}

// maxListBytes bounds a list of models.
const maxListBytes = 4 << 20

func (c *Catalog) probe(ctx context.Context, r Row) ([]served, error) {
	const op = "catalog.probe"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(r.BaseURL, "/")+"/models", http.NoBody)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, "the base URL makes no request", err)
	}
	if r.Key != "" {
		req.Header.Set("Authorization", "Bearer "+r.Key)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, r.Name+" does not answer", err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if resp.StatusCode != http.StatusOK {
		return nil, fault.Newf(fault.FromHTTPStatus(resp.StatusCode), op, "%s answered with status %d", r.Name, resp.StatusCode)
	}
	var list struct {
		Data []struct {
			ID          string `json:"id"`
			MaxModelLen int    `json:"max_model_len"` // vLLM
			Meta        struct {
				ContextTrained int `json:"n_ctx_train"` // llama.cpp
			} `json:"meta"`
		} `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxListBytes)).Decode(&list); err != nil {
		return nil, fault.Wrap(fault.Internal, op, r.Name+" sent no list of models", err)
	}
	ids := make([]served, 0, len(list.Data))
	for _, m := range list.Data {
		if m.ID != "" {
			ids = append(ids, served{id: m.ID, context: max(m.MaxModelLen, m.Meta.ContextTrained)})
		}
	}
	return ids, nil
}
