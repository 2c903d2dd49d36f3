// Package tools is the tools service: which tools there are, who may call what, and the calls
// themselves, confined and bounded. It alone writes the events of the family tool.
package tools

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/agentos-kernel/agentos/api/toolsapi"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/effect"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/tools/internal/core"
	"github.com/agentos-kernel/agentos/services/tools/internal/handle"
	"github.com/agentos-kernel/agentos/services/tools/internal/httpapi"
	"github.com/agentos-kernel/agentos/services/tools/internal/registry"
	"github.com/agentos-kernel/agentos/services/tools/internal/store"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
)

// Name of the service: its schema, consumer group and role are named after it.
const Name = "tools"

// Config of the service. The zero Config has the defaults and no cassettes.
type Config struct {
	CassetteFolders []string      // where cassettes of replay tools are looked for, in order; default none
	CallTimeout     time.Duration // limit of one tool call; default 30 s
	OutputLimit     int           // bytes of a result that are kept; default 65,536, at least 1,024
	Concurrency     int           // tool calls at once in this replica; default 256
	Grace           time.Duration // how long a stop waits for running calls; default 5 s
	Tracer          trace.Tracer  // one span for each call; default none
}

// WithDefaults is a copy with the defaults for what is zero.
func (c Config) WithDefaults() Config {
	if c.CallTimeout == 0 {
		c.CallTimeout = 30 * time.Second
	}
	if c.OutputLimit == 0 {
		c.OutputLimit = 64 << 10
	}
	if c.Concurrency == 0 {
		c.Concurrency = 256
	}
	if c.Grace == 0 {
		c.Grace = 5 * time.Second
	}
	if c.Tracer == nil {
		c.Tracer = noop.NewTracerProvider().Tracer(Name)
	}
	return c
}

func (c Config) validate() error {
	var wrong []error
	check := func(ok bool, field, must string) {
		if !ok {
			wrong = append(wrong, fault.Newf(fault.Invalid, "tools.config", "%s must be %s", field, must))
		}
	}
	check(c.CallTimeout > 0, "CallTimeout", "positive")
	check(c.OutputLimit >= 1024, "OutputLimit", "at least 1024 bytes")
	check(c.Concurrency > 0, "Concurrency", "positive")
	check(c.Grace > 0, "Grace", "positive")
	return errors.Join(wrong...)
}

// Migrations are the tables of the service, to be applied in its own schema after those of the harness.
func Migrations() (fs.FS, error) {
	migrations, err := store.Migrations()
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "tools.migrations", "the embedded migrations cannot be read", err)
	}
	return migrations, nil
}

// Service is the tools service.
type Service struct {
	cfg        Config
	migrations fs.FS
	registry   *registry.Registry
	handler    *handle.Handler
	rt         *service.Runtime
}

// New makes the service. Errors are Invalid and name the field.
func New(cfg Config) (*Service, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	limits := tool.Limits{Timeout: cfg.CallTimeout, OutputBytes: cfg.OutputLimit}
	reg, err := registry.New(cassette.NewLibrary(cfg.CassetteFolders...), limits)
	if err != nil {
		return nil, err
	}
	migrations, err := Migrations()
	if err != nil {
		return nil, err
	}
	handler := handle.New(handle.Config{
		Registry: reg, Limits: limits,
		Effects: effect.Config{Concurrency: cfg.Concurrency},
		Tracer:  cfg.Tracer,
	})
	return &Service{cfg: cfg, migrations: migrations, registry: reg, handler: handler}, nil
}

// Bind ties the service to the runtime made of its Definition; it must come before the runtime runs.
func (s *Service) Bind(rt *service.Runtime) {
	s.rt = rt
	s.handler.Bind(rt, uuid.NewString())
}

// Definition is what the runtime runs.
func (s *Service) Definition() service.Definition {
	return service.Definition{
		Name: Name, Family: events.Tool, Consumes: []events.Family{events.Agent, events.LLM},
		Uses: []events.Event{
			agent.Spawned{}, agent.SignalReceived{}, agent.Completed{}, agent.Failed{}, agent.Terminated{}, llm.CallFinished{},
		},
		Migrations: s.migrations,
		Handle:     s.handler.Handle,
		Fold:       handle.Fold(),
		Assigned:   s.handler.Assigned,
		Rebuild:    service.Rebuild{Families: []events.Family{events.Agent}},
		Routes: func(g *echo.Group) {
			toolsapi.RegisterHandlers(g, httpapi.New(s.registry, s.rt.Logger()))
		},
		Background: []func(context.Context) error{s.handler.Loop(s.cfg.Grace), s.publish},
	}
}

// Fold is how tool calls are made of their streams.
func Fold() service.Fold[core.State] { return handle.Fold() }

// publishAgain is the pause between two tries to publish the registry.
const publishAgain = time.Second

// publish makes the registry known once the service takes commands, and tries until it is.
func (s *Service) publish(ctx context.Context) error {
	select {
	case <-s.rt.Started():
	case <-ctx.Done():
		return nil
	}
	sets, problems := s.registry.Sets()
	for _, p := range problems {
		s.rt.Logger().WarnContext(ctx, "tool set left out", "error", p)
	}
	for {
		_, err := s.rt.Do(ctx, events.DefaultTenant, "registry", core.Publish{Sets: sets})
		if err == nil {
			return nil
		}
		s.rt.Logger().WarnContext(ctx, "registry not published yet", "error", err)
		select {
		case <-time.After(publishAgain):
		case <-ctx.Done():
			return nil
		}
	}
}
