package stack

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/libs/dial"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
	"github.com/agentos-kernel/agentos/libs/service"
)

// Config is what the services of a node are told.
type Config struct {
	Home            string
	HTTP            string   // host:port of the HTTP server
	Slots           int      // processes in a step at once; 0: the scheduler's default
	WorkspaceRoots  []string // folders workspaces may lie in
	CassetteFolders []string // folders with recordings for replay
	GraceTime       time.Duration
	MasterKeyFile   string // seals the bodies of events; empty: they are kept as they are
	Logger          *slog.Logger
	Tracer          trace.Tracer
}

// KeyFile is where the API key of a data folder is kept.
func KeyFile(home string) string { return filepath.Join(home, "api.key") }

// Node is some services in one process behind one HTTP server.
type Node struct {
	cfg      Config
	infra    *Infra
	pools    []*pgxpool.Pool
	runtimes []*service.Runtime
	server   *httpserver.Server
}

// NewNode prepares the named services; all when none is named.
func NewNode(ctx context.Context, infra *Infra, cfg Config, names ...string) (n *Node, err error) {
	if cfg.GraceTime == 0 {
		cfg.GraceTime = 10 * time.Second
	}
	n = &Node{cfg: cfg, infra: infra}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, p := range parts() {
		if len(names) > 0 && !contains(names, p.name) {
			continue
		}
		if err := n.add(ctx, p, metrics); err != nil {
			return n, err
		}
	}
	if len(n.runtimes) == 0 {
		return n, fault.Newf(fault.Invalid, "stack.serve", "no service is named %v", names).
			WithFix("name one of scheduler, context, llm-gateway, tools, audit, learning, edge, infra")
	}
	return n, n.listen(ctx, metrics)
}

func contains(names []string, name string) bool {
	return slices.Contains(names, name)
}

// poolSize is one connection for each shard's commits, one for the relay, and some for reads.
const poolSize = 12

func (n *Node) add(ctx context.Context, p part, metrics prometheus.Registerer) error {
	url, err := eventstore.ServiceURL(n.infra.DatabaseURL, p.schema, n.infra.Roles[p.schema])
	if err != nil {
		return err
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return fault.Wrap(fault.Invalid, "stack.pool", "DATABASE_URL cannot be used", err)
	}
	cfg.MaxConns, cfg.MinConns = poolSize, 2
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.ConnConfig.DialFunc = dial.Dialer(0).DialContext // bounded by connect_timeout of the URL, or the caller
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return fault.Wrap(fault.Unavailable, "stack.pool", "cannot reach Postgres", err)
	}
	n.pools = append(n.pools, pool)
	keys, err := keyring(ctx, pool, n.cfg.MasterKeyFile)
	if err != nil {
		return err
	}
	reg, err := catalog.New()
	if err != nil {
		return err
	}
	made, err := p.make(n)
	if err != nil {
		return err
	}
	def, err := made.Definition()
	if err != nil {
		return err
	}
	rt, err := service.New(def, service.Deps{
		DB: pool, Bus: n.infra.Bus(n.cfg.Logger), Partitions: n.infra.Partitions, Registry: reg, Keys: keys, Logger: n.cfg.Logger,
		Tracer: n.cfg.Tracer, Metrics: metrics, Now: time.Now, GraceTime: n.cfg.GraceTime,
		NewID: func() string { return uuid.Must(uuid.NewV7()).String() },
	})
	if err != nil {
		return err
	}
	made.Bind(rt)
	n.runtimes = append(n.runtimes, rt)
	return nil
}

func (n *Node) listen(ctx context.Context, metrics *prometheus.Registry) error {
	key, err := httpserver.EnsureKeyFile(KeyFile(n.cfg.Home))
	if err != nil {
		return err
	}
	n.server, err = httpserver.New(httpserver.Config{
		Addr: n.cfg.HTTP, APIKeys: httpserver.StaticKey(key, events.DefaultTenant), Logger: n.cfg.Logger,
		Registry: metrics, Tracer: n.cfg.Tracer, Spec: api.Spec(), Ready: n.ready, Grace: n.cfg.GraceTime,
	})
	if err != nil {
		return err
	}
	for _, rt := range n.runtimes {
		if routes := rt.Definition().Routes; routes != nil {
			routes(n.server.Group())
		}
	}
	return n.server.Listen(ctx)
}

// URL is the address of the HTTP server.
func (n *Node) URL() string { return n.server.URL() }

// Run runs the services and the server until ctx ends. onReady is called once when every service
// takes commands and has joined its group.
func (n *Node) Run(ctx context.Context, onReady func() error) error {
	defer n.close()
	g, gctx := errgroup.WithContext(ctx)
	for _, rt := range n.runtimes {
		g.Go(func() error { return rt.Run(gctx) })
	}
	g.Go(func() error { return n.server.Run(gctx) })
	g.Go(func() error {
		if !n.awaitReady(gctx) {
			return nil
		}
		return onReady()
	})
	err := g.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (n *Node) awaitReady(ctx context.Context) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n.ready(ctx) != nil {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// readyLimit bounds one readiness check.
const readyLimit = 2 * time.Second

func (n *Node) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	for _, rt := range n.runtimes {
		g.Go(func() error { return rt.Ready(ctx) })
	}
	return g.Wait()
}

func (n *Node) close() {
	for _, p := range n.pools {
		p.Close()
	}
}

// forbidden is the kernel's own data: no workspace may lie in it.
func (n *Node) forbidden() string {
	abs, err := filepath.Abs(n.cfg.Home)
	if err != nil {
		return n.cfg.Home
	}
	return abs
}

// makeRoots makes the workspace roots that do not exist yet.
func (n *Node) makeRoots() error {
	for _, r := range n.cfg.WorkspaceRoots {
		if err := os.MkdirAll(r, 0o700); err != nil {
			return fault.Wrap(fault.Invalid, "stack.workspaces", "cannot make the workspace root "+r, err).
				WithFix("name a folder that can be made with --workspace-root")
		}
	}
	return nil
}
