package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit/kafkatest"
)

// partitions is the count of the embedded broker's topics, as `agentos up` makes them.
const partitions = 4

// parts are a database and a broker of one's own, durable both, for what is measured below HTTP.
type parts struct {
	pg    *embedded.Postgres
	kafka bus.Config
	stop  func() error // the broker
	log   *slog.Logger
	pools []*pgxpool.Pool
}

// families are the services the library benchmarks play, by the schema the kernel gives them.
func families() map[string]events.Family {
	return map[string]events.Family{"scheduler": events.Agent, "context": events.Context, "llm": events.LLM, "tools": events.Tool}
}

// withParts runs f with a database that holds an event store, and a broker with its topics.
func (e *env) withParts(ctx context.Context, f func(p *parts) error) (err error) {
	home, remove, err := e.home(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	p := &parts{log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}
	defer func() { err = errors.Join(err, p.close(context.WithoutCancel(ctx))) }()
	if p.pg, err = embedded.StartPostgres(ctx, embedded.PostgresConfig{Home: filepath.Join(home, "postgres"), Logger: p.log}); err != nil {
		return err
	}
	if err := p.startBroker(ctx, filepath.Join(home, "broker"), e.kafka); err != nil {
		return err
	}
	if err := p.prepare(ctx); err != nil {
		return err
	}
	return f(p)
}

func (p *parts) close(ctx context.Context) error {
	for _, pool := range p.pools {
		pool.Close()
	}
	var errs []error
	if p.stop != nil {
		errs = append(errs, p.stop())
	}
	if p.pg != nil {
		ctx, cancel := context.WithTimeout(ctx, stopLimit)
		defer cancel()
		errs = append(errs, p.pg.Stop(ctx))
	}
	return errors.Join(errs...)
}

func (p *parts) prepare(ctx context.Context) error {
	own, err := service.Migrations()
	if err != nil {
		return err
	}
	var services []eventstore.Service
	var topics []bus.TopicSpec
	for name, family := range families() {
		services = append(services, eventstore.Service{Name: name, Family: family, Password: "bench", Migrations: []fs.FS{own}})
		topics = append(topics, bus.TopicSpec{Name: family.Topic(), Partitions: partitions, Retention: time.Hour})
	}
	if err := eventstore.Setup(ctx, p.pg.AdminURL(""), partitions, services); err != nil {
		return err
	}
	return bus.EnsureTopics(ctx, p.bus(), topics)
}

func (p *parts) bus() bus.Config {
	cfg := p.kafka
	cfg.Logger = p.log
	return cfg
}

// startBroker starts the embedded broker, or Apache Kafka from its jars.
func (p *parts) startBroker(ctx context.Context, dir string, apache bool) error {
	if apache {
		b, err := kafkatest.New(ctx, kafkatest.Config{Dir: dir})
		if err != nil {
			return err
		}
		p.kafka, p.stop = b.Bus(), b.Stop
		return b.Start(ctx)
	}
	b, err := embedded.StartBroker(ctx, embedded.BrokerConfig{Dir: dir, Logger: p.log})
	if err != nil {
		return err
	}
	p.kafka, p.stop = bus.Config{Brokers: []string{b.Addr()}, SessionTimeout: 2 * time.Second}, b.Close
	return nil
}

// pool logs in as a service, as the kernel does.
func (p *parts) pool(ctx context.Context, name string, size int) (*pgxpool.Pool, error) {
	url, err := eventstore.ServiceURL(p.pg.AdminURL(""), name, "bench")
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns, cfg.MinConns = int32(size), 2 //nolint:gosec // a small number
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	p.pools = append(p.pools, pool)
	return pool, nil
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }
