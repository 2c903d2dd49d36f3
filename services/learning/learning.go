// Package learning is the learning service: it builds one trajectory per process from the events of all
// other services, says when a trajectory is whole, and compares agents over all their runs.
//
// The fold is pure (internal/core) and the same for live events and for [Replay], so dropping the tables
// and reading the event store again gives the same bytes.
package learning

import (
	"io/fs"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/learning/internal/handle"
	"github.com/agentos-kernel/agentos/services/learning/internal/httpapi"
	"github.com/agentos-kernel/agentos/services/learning/internal/store"
)

// Name is the service's name, schema and consumer group.
const Name = "learning"

// Config is the service's configuration; there is nothing to set yet.
type Config struct{}

// pace lets many events make one batch: nobody waits for this service.
const pace = 100 * time.Millisecond

// Service is the learning service. Bind must be called before its runtime runs.
type Service struct {
	migrations fs.FS
	handler    *handle.Handler
	rt         *service.Runtime
}

// New makes the service.
func New(Config) (*Service, error) {
	migrations, err := store.Migrations()
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "learning.new", "cannot read the embedded migrations", err)
	}
	s := &Service{migrations: migrations}
	s.handler = handle.New(func(r events.Record) (events.Event, error) { return s.rt.Decode(r) })
	return s, nil
}

// Bind gives the service the runtime that runs its Definition.
func (s *Service) Bind(rt *service.Runtime) { s.rt = rt }

// Definition is what the runtime runs.
func (s *Service) Definition() service.Definition {
	return service.Definition{
		Name: Name, Family: events.Learning,
		Consumes:   []events.Family{events.Agent, events.Context, events.LLM, events.Tool, events.Audit},
		Migrations: s.migrations,
		Handle:     s.handler.Handle,
		Pace:       pace,
		Raw:        true,
		Assigned:   s.handler.Assigned,
		Routes:     func(g *echo.Group) { httpapi.Register(g, s.rt.DB()) },
	}
}

// Migrations are the tables of the service's schema.
func Migrations() (fs.FS, error) { return store.Migrations() }
