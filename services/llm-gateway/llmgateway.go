// Package llmgateway is the LLM gateway: it makes the model calls of all processes, streams what the
// models say and accounts for what it costs. It alone writes the events of the family llm.
package llmgateway

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/agentos-kernel/agentos/api/llmgatewayapi"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	contextevents "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/effect"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/calls"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/catalog"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/handle"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/httpapi"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/toolset"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/window"
)

// Name of the service: its schema, consumer group and role are named after it.
const Name = "llm-gateway"

// Server is one server with the OpenAI chat completions interface: a row of the catalogue.
type Server = catalog.Row

// ServersFromEnv is the rows for OPENAI_API_KEY, OPENAI_BASE_URL and OLLAMA_HOST.
func ServersFromEnv(getenv func(string) string) []Server { return catalog.FromEnv(getenv) }

// Config of the service. The zero Config has the defaults, no servers and no cassettes.
type Config struct {
	Servers         []Server      // who answers model calls; see ServersFromEnv
	CassetteFolders []string      // where the cassettes of "replay/…" models are looked for, in order
	Concurrency     int           // model calls at once in this replica; default 512
	CacheBytes      int           // memory for the windows of processes; default 256 MB
	Grace           time.Duration // how long a stop waits for running calls; default 5 s
	Refresh         time.Duration // pause between two looks at the engines; default 10 s
	Tracer          trace.Tracer  // of the provider calls; default: the global one
}

// WithDefaults is a copy with the defaults for what is zero.
func (c Config) WithDefaults() Config {
	if c.Concurrency == 0 {
		c.Concurrency = 512
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 256 << 20
	}
	if c.Grace == 0 {
		c.Grace = 5 * time.Second
	}
	if c.Refresh == 0 {
		c.Refresh = 10 * time.Second
	}
	if c.Tracer == nil {
		c.Tracer = otel.Tracer("github.com/agentos-kernel/agentos/services/llm-gateway")
	}
	return c
}

func (c Config) validate() error {
	var wrong []error
	check := func(ok bool, field string) {
		if !ok {
			wrong = append(wrong, fault.Newf(fault.Invalid, "llm-gateway.config", "%s must be positive", field))
		}
	}
	check(c.Concurrency > 0, "Concurrency")
	check(c.CacheBytes > 0, "CacheBytes")
	check(c.Grace > 0, "Grace")
	check(c.Refresh > 0, "Refresh")
	return errors.Join(wrong...)
}

// Gateway is the service.
type Gateway struct {
	cfg     Config
	catalog *catalog.Catalog
	handler *handle.Handler
	effects *effect.Runner
	calls   *calls.Calls
	rt      *service.Runtime
}

// New makes the service. Errors are Invalid and name the field.
func New(cfg Config) (*Gateway, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cat, err := catalog.New(cfg.Servers, cassette.NewLibrary(cfg.CassetteFolders...))
	if err != nil {
		return nil, err //nolint:wrapcheck // a fault that names the row
	}
	g := &Gateway{cfg: cfg, catalog: cat}
	g.effects = effect.New(effect.Config{Concurrency: cfg.Concurrency}, func(ctx context.Context, e effect.Effect) any {
		return g.calls.Run(ctx, e.Tenant, e.CallID, e.Attempt)
	})
	return g, nil
}

// Bind ties the service to the runtime made of its Definition; it must come before the runtime runs.
func (g *Gateway) Bind(rt *service.Runtime) {
	g.rt = rt
	g.effects.Bind(rt, uuid.NewString())
	g.calls = calls.New(g.cfg.Tracer, rt.Logger(), func(ctx context.Context, topic, key string, payload []byte) error {
		return rt.Publish(ctx, topic, key, message.NewMessage(uuid.NewString(), payload))
	})
	g.handler = handle.New(handle.Deps{
		Catalog: g.catalog, Calls: g.calls, Effects: g.effects, Logger: rt.Logger(),
		Windows: window.New(rt, g.cfg.CacheBytes), Tools: toolset.New(rt, time.Now),
	})
}

// Migrations are the tables of the gateway's schema: none beside the harness's. All it needs to know is
// in the event store.
func Migrations() (fs.FS, error) { return embed.FS{}, nil }

// Fold is how model calls are made of their streams.
func Fold() service.Fold[core.State] { return handle.Fold() }

// Definition is what the runtime runs.
func (g *Gateway) Definition() service.Definition {
	return service.Definition{
		Name: Name, Family: events.LLM, Consumes: []events.Family{events.Agent, events.Context},
		Uses: []events.Event{
			agent.SignalReceived{},
			agent.Completed{},
			agent.Failed{},
			agent.Terminated{},
			contextevents.PageWritten{},
			contextevents.WindowAssembled{},
			contextevents.WindowRefused{},
		},
		Migrations: embed.FS{},
		Handle: func(ctx context.Context, u *service.Unit, in *service.Input) error {
			return g.handler.Handle(ctx, u, in)
		},
		Fold:     handle.Fold(),
		Assigned: func(ctx context.Context, shards []int) error { return g.handler.Assigned(ctx, shards) },
		Routes: func(group *echo.Group) {
			llmgatewayapi.RegisterHandlers(group, httpapi.New(g.catalog.Models))
		},
		Background: []func(context.Context) error{g.effects.Loop(g.cfg.Grace), g.publishCatalog},
	}
}
