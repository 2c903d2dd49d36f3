package httpserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// DefaultAddr is the address of a server whose Config names none: loopback only.
const DefaultAddr = "127.0.0.1:7433"

// Limits of a connection. There is no limit on writing a response as a whole, because a stream of
// events stays open as long as its process lives; a single write to a stream has one.
const (
	readHeaderTimeout = 10 * time.Second
	readBodyTimeout   = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// Config says what a server serves besides the routes added to its group.
type Config struct {
	// Addr is host:port to listen on; port 0 takes a free one. Default DefaultAddr.
	Addr string
	// APIKeys finds the tenant of an API key; see StaticKey. Required.
	APIKeys func(key string) (tenant string, ok bool)
	// Logger takes the access log at debug and the kernel's own faults at error. Required.
	Logger *slog.Logger
	// MaxBody bounds a request's body in bytes. Default 1 MiB.
	MaxBody int64
	// Registry is served at /metrics and takes the server's own metrics. Default: a new one.
	Registry *prometheus.Registry
	// Tracer makes one span for each request. Default: none.
	Tracer trace.Tracer
	// Spec is the OpenAPI document served at /openapi.yaml.
	Spec []byte
	// Ready tells what is missing for serving requests, for /readyz. Default: nothing ever is.
	Ready func(ctx context.Context) error
	// Grace is how long requests may go on once the server is told to stop. Default 10 s.
	Grace time.Duration
}

func (c Config) withDefaults() Config {
	if c.Addr == "" {
		c.Addr = DefaultAddr
	}
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 20
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.Tracer == nil {
		c.Tracer = tracenoop.NewTracerProvider().Tracer("")
	}
	if c.Ready == nil {
		c.Ready = func(context.Context) error { return nil }
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	return c
}

func (c Config) validate() error {
	const op = "httpserver.new"
	switch {
	case c.APIKeys == nil:
		return fault.New(fault.Invalid, op, "Config.APIKeys is missing").WithFix("pass StaticKey(key, tenant)")
	case c.Logger == nil:
		return fault.New(fault.Invalid, op, "Config.Logger is missing").WithFix("pass a *slog.Logger")
	case c.MaxBody < 0 || c.Grace < 0:
		return fault.New(fault.Invalid, op, "Config.MaxBody and Config.Grace must not be negative").
			WithFix("leave them 0 for the defaults")
	}
	return nil
}

// Server is one HTTP server. Add routes to Group, then Listen, then Run.
type Server struct {
	cfg      Config
	echo     *echo.Echo
	group    *echo.Group
	requests *prometheus.HistogramVec
	listener net.Listener
	draining chan struct{}
}

// New makes a server with the routes every server has: /healthz, /readyz, /metrics, /openapi.yaml.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, echo: echo.New(), draining: make(chan struct{})}
	s.echo.HideBanner, s.echo.HidePort = true, true
	s.echo.HTTPErrorHandler = s.writeError
	s.echo.JSONSerializer = serializer{}
	s.echo.Use(s.observe, s.recoverPanic, s.authenticate, s.limit)
	s.group = s.echo.Group("")
	if err := s.registerMetrics(); err != nil {
		return nil, err
	}
	s.systemRoutes()
	return s, nil
}

// Group takes the routes of the services; all of them need an API key.
func (s *Server) Group() *echo.Group { return s.group }

// Handler serves all routes without a listener, for tests and for another server's mux.
func (s *Server) Handler() http.Handler { return s.echo }

// Listen binds the address, so that it is known and connections queue before Run.
func (s *Server) Listen(ctx context.Context) error {
	const op = "httpserver.listen"
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Addr)
	if err != nil {
		return fault.Wrap(fault.Unavailable, op, "cannot listen on "+s.cfg.Addr, err).
			WithFix("stop the program that holds the port, or choose another one; port 0 takes a free one")
	}
	s.listener = l
	return nil
}

// URL is the server's base URL, "http://host:port"; "" before Listen.
func (s *Server) URL() string {
	if s.listener == nil {
		return ""
	}
	return "http://" + s.listener.Addr().String()
}

// Run serves until ctx ends; it listens first if Listen was not called. Then streams of events end at
// once, other requests have the grace time, and Run returns nil if all of them ended in it.
func (s *Server) Run(ctx context.Context) error {
	const op = "httpserver.run"
	if s.listener == nil {
		if err := s.Listen(ctx); err != nil {
			return err
		}
	}
	server := &http.Server{
		Handler: s.echo, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
		// Requests outlive ctx by the grace time: they must not be cancelled with it.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fault.Wrap(fault.Internal, op, "the server stopped by itself", err)
	case <-ctx.Done():
	}
	close(s.draining)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Grace)
	defer cancel()
	err := server.Shutdown(grace)
	if err != nil {
		err = fault.Wrap(fault.Unavailable, op, "requests were still running after the grace time", errors.Join(err, server.Close()))
	}
	if ended := <-served; err == nil && !errors.Is(ended, http.ErrServerClosed) {
		err = fault.Wrap(fault.Internal, op, "the server stopped by itself", ended)
	}
	return err
}
