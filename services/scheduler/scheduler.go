// Package scheduler owns processes: it takes tasks over HTTP, gives steps to ready processes in the
// order of their priority, keeps them within their limits and decides when they have ended.
package scheduler

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/agentos-kernel/agentos/api/schedulerapi"
	"github.com/agentos-kernel/agentos/events"
	contextevents "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/pid"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/telemetry"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/core"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/handle"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/httpapi"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/runqueue"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/store"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/stream"
)

// Name is the service's.
const Name = "scheduler"

// Config is the scheduler's configuration; the zero value is usable.
type Config struct {
	// Bus is where the live streams of clients listen.
	Bus bus.Config
	// Slots is how many processes may be in a step at once on this replica. Default 1024.
	Slots int
	// WorkspaceRoots are the folders a workspace may lie in. A process without one of its own gets a
	// folder named after its pid in the first. Default: none, and then no process has files.
	WorkspaceRoots []string
	// ForbiddenRoot is the kernel's own data folder: no workspace may lie in it.
	ForbiddenRoot string
}

// Service is the scheduler.
type Service struct {
	cfg     Config
	rt      *service.Runtime
	queue   *runqueue.Queue
	handler *handle.Handler
	steps   *handle.Steps
	metrics []prometheus.Collector
	hub     *stream.Hub
	api     *httpapi.Server
	told    chan struct{} // another replica has committed to one of our processes
}

const (
	// timerEvery is how often timers, lost slots and processes made ready elsewhere are looked for.
	timerEvery = 250 * time.Millisecond
	// lostAge keeps a look of its own accord from what is just on its way into the queue.
	lostAge = 200 * time.Millisecond
	// toldPause is the least time between two looks that other replicas ask for.
	toldPause = 25 * time.Millisecond
)

// New prepares the service; Bind must follow.
func New(cfg Config) (*Service, error) {
	if cfg.Slots < 0 {
		return nil, errors.New("scheduler: Slots must not be negative")
	}
	if cfg.Slots == 0 {
		cfg.Slots = 1024
	}
	s := &Service{cfg: cfg, told: make(chan struct{}, 1)}
	s.queue = runqueue.New(cfg.Slots, func(k runqueue.Key) { s.rt.Post(k.Tenant, k.PID, handle.Grant{}) })
	labels := prometheus.Labels{telemetry.LabelService: Name}
	took := telemetry.StepSeconds().Histogram(labels)
	s.steps = handle.NewSteps(took)
	s.metrics = append(s.processes(), took)
	s.handler = handle.New(s.queue, s.steps, func(subject string) int { return s.rt.Shard(subject) },
		func(r events.Record) (events.Event, error) { return s.rt.Decode(r) })
	return s, nil
}

// Bind ties the service to its runtime.
func (s *Service) Bind(rt *service.Runtime) {
	s.rt = rt
	s.hub = stream.New(rt.DB())
	s.api = httpapi.New(httpapi.Config{
		Roots: s.cfg.WorkspaceRoots, Forbidden: s.cfg.ForbiddenRoot, Now: time.Now,
		NewPID: pid.New, NewID: uuid.NewString,
	}, rt, rt.DB(), s.hub)
}

// Definition describes the service to the harness.
func (s *Service) Definition() (service.Definition, error) {
	migrations, err := store.Migrations()
	return service.Definition{
		Name: Name, Family: events.Agent,
		Consumes: []events.Family{events.Context, events.LLM, events.Tool},
		Uses: []events.Event{
			contextevents.WindowRefused{},
			llm.CallFinished{},
			llm.CallFailed{},
			llm.CallCancelled{},
			llm.CallRefused{},
			tool.CallFinished{},
			tool.CallFailed{},
			tool.CallCancelled{},
		},
		Migrations: migrations,
		Handle:     s.handler.Handle,
		Fold:       handle.Fold(),
		Assigned:   s.assigned,
		Unfinished: store.Unfinished,
		Told: func(int) {
			select {
			case s.told <- struct{}{}:
			default:
			}
		},
		Rebuild: service.Rebuild{
			Families: []events.Family{events.Agent}, Handle: s.handler.Rebuild, Keep: []string{"idempotency"},
		},
		Routes:  func(g *echo.Group) { schedulerapi.RegisterHandlers(g, s.api) },
		Metrics: s.metrics,
		Background: []func(context.Context) error{
			s.watch,
			func(ctx context.Context) error { return s.hub.Run(ctx, s.cfg.Bus) },
		},
	}, err
}

// Fold is how processes are made of their streams.
func Fold() service.Fold[core.State] { return handle.Fold() }

// processes are the gauges of the run queue.
func (s *Service) processes() []prometheus.Collector {
	gauge := func(state string, value func() int) prometheus.Collector {
		return telemetry.Processes().GaugeFunc(prometheus.Labels{telemetry.LabelService: Name, telemetry.LabelState: state},
			func() float64 { return float64(value()) })
	}
	return []prometheus.Collector{
		gauge("running", func() int { running, _ := s.queue.Len(); return running }),
		gauge("ready", func() int { _, ready := s.queue.Len(); return ready }),
	}
}

// assigned fills the run queue from the process table.
func (s *Service) assigned(ctx context.Context, shards []int) error {
	s.steps.Forget()
	for _, k := range s.queue.Running() {
		s.queue.Release(k)
	}
	procs, err := store.Runnable(ctx, s.rt.DB(), shards)
	if err != nil {
		return err
	}
	for _, p := range procs {
		s.enqueue(p)
	}
	return nil
}

func (s *Service) enqueue(p store.Ref) {
	key := runqueue.Key{Tenant: p.Tenant, PID: p.PID}
	if p.State == "running" {
		s.queue.Hold(key)
		return
	}
	s.queue.Wait(key, p.Priority)
}

// watch looks after what no message announces: timers, ready processes that another replica's ingress
// made, slots of processes that ended elsewhere.
func (s *Service) watch(ctx context.Context) error {
	tick := time.NewTicker(timerEvery)
	defer tick.Stop()
	forget := time.NewTicker(time.Hour)
	defer forget.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-forget.C:
			if _, err := s.rt.DB().Exec(ctx, store.ForgetSQL); err != nil && ctx.Err() == nil {
				s.rt.Logger().WarnContext(ctx, "cannot forget old answers", "error", err)
			}
		case <-s.told:
			s.looked(ctx, s.look(ctx, 0))
			select {
			case <-time.After(toldPause):
			case <-ctx.Done():
			}
		case <-tick.C:
			s.looked(ctx, s.look(ctx, lostAge))
		}
	}
}

func (s *Service) looked(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		s.rt.Logger().WarnContext(ctx, "cannot look for timers", "error", err)
	}
}

// look finds what to do for processes of owned shards; age is how long a ready one has stood still.
func (s *Service) look(ctx context.Context, age time.Duration) error {
	shards := s.rt.Owned()
	if len(shards) == 0 {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		due, err := store.Due(ctx, s.rt.DB(), shards)
		for _, p := range due {
			s.rt.Post(p.Tenant, p.PID, handle.Timer{Version: p.Version})
		}
		return err
	})
	g.Go(func() error {
		lost, err := store.Lost(ctx, s.rt.DB(), shards, age)
		for _, p := range lost {
			if !s.queue.Queued(runqueue.Key{Tenant: p.Tenant, PID: p.PID}) {
				s.rt.Post(p.Tenant, p.PID, handle.Lost{Version: p.Version})
			}
		}
		return err
	})
	g.Go(func() error {
		running := s.queue.Running()
		tenants, pids := make([]string, len(running)), make([]string, len(running))
		for i, k := range running {
			tenants[i], pids[i] = k.Tenant, k.PID
		}
		ended, err := store.NotRunning(ctx, s.rt.DB(), tenants, pids)
		for _, p := range ended {
			s.queue.Release(runqueue.Key{Tenant: p.Tenant, PID: p.PID})
		}
		return err
	})
	return g.Wait()
}

// Migrations are the tables of the scheduler's schema.
func Migrations() (fs.FS, error) { return store.Migrations() }
