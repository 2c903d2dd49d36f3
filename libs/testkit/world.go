package testkit

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/seal"
	"github.com/agentos-kernel/agentos/libs/service"
)

// Partitions is the partition count of a World.
const Partitions = 4

// World is one database and one broker for services under test.
type World struct {
	Admin  string // URL of the database
	Broker string // address
	Log    *slog.Logger
	Master *seal.Master // seals the bodies of events; nil: they are kept as they are
}

// NewWorld makes a fresh database with schemas for the given services, and a fresh broker with all
// topics. A service's password is its name.
func NewWorld(tb testing.TB, services ...eventstore.Service) *World {
	tb.Helper()
	w := &World{Admin: Postgres(tb), Broker: Broker(tb)}
	w.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	own, err := service.Migrations()
	if err != nil {
		tb.Fatal(err)
	}
	for i := range services {
		services[i].Password = services[i].Name
		services[i].Migrations = append([]fs.FS{own}, services[i].Migrations...)
	}
	if err := eventstore.Setup(tb.Context(), w.Admin, Partitions, services); err != nil {
		tb.Fatal(err)
	}
	w.Topics(tb)
	return w
}

// Topics makes all topics on the broker.
func (w *World) Topics(tb testing.TB) {
	tb.Helper()
	specs := []bus.TopicSpec{{Name: events.DeltasTopic, Partitions: Partitions, Retention: time.Hour}}
	for _, f := range events.Families() {
		specs = append(specs, bus.TopicSpec{Name: f.Topic(), Partitions: Partitions, Retention: time.Hour})
	}
	if err := bus.EnsureTopics(tb.Context(), w.Bus(), specs); err != nil {
		tb.Fatal(err)
	}
}

// Bus is how to reach the broker.
func (w *World) Bus() bus.Config {
	return bus.Config{Brokers: []string{w.Broker}, SessionTimeout: 2 * time.Second, Logger: w.Log}
}

// Pool is a pool of connections of a service's role, closed with the test.
func (w *World) Pool(tb testing.TB, name string) *pgxpool.Pool {
	tb.Helper()
	url, err := eventstore.ServiceURL(w.Admin, name, name)
	if err != nil {
		tb.Fatal(err)
	}
	pool, err := pgxpool.New(context.WithoutCancel(tb.Context()), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// Runtime prepares a service; Run does the rest. change may give it other parts than the world's.
func (w *World) Runtime(tb testing.TB, def service.Definition, change ...func(*service.Deps)) *service.Runtime {
	tb.Helper()
	reg, err := catalog.New()
	if err != nil {
		tb.Fatal(err)
	}
	pool := w.Pool(tb, def.Name)
	keys, err := seal.NewKeyring(tb.Context(), pool, w.Master)
	if err != nil {
		tb.Fatal(err)
	}
	deps := service.Deps{
		DB: pool, Keys: keys, Bus: w.Bus(), Partitions: Partitions, Registry: reg, Logger: w.Log,
		Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }, GraceTime: 2 * time.Second,
	}
	for _, f := range change {
		f(&deps)
	}
	rt, err := service.New(def, deps)
	if err != nil {
		tb.Fatal(err)
	}
	return rt
}

// Subject is a subject whose shard the service owns; it must own one.
func Subject(rt *service.Runtime) string {
	for i := 0; ; i++ {
		if s := fmt.Sprintf("p%d", i); slices.Contains(rt.Owned(), rt.Shard(s)) {
			return s
		}
	}
}

// Run runs a service until the returned function is called, or the test ends.
func (w *World) Run(tb testing.TB, rt *service.Runtime) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = rt.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
		if err != nil {
			tb.Errorf("service %s: %v", rt.Definition().Name, err)
			err = nil
		}
	}
	tb.Cleanup(stop)
	return stop
}

// Eventually waits until ok holds, for at most 20 s.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within 20 s: %s", what)
		}
	}
}
