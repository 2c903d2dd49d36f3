package httpserver

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/telemetry"
)

func (s *Server) registerMetrics() error {
	s.requests = telemetry.HTTPRequest().HistogramVec(nil)
	if err := s.cfg.Registry.Register(s.requests); err != nil {
		return fault.Wrap(fault.Internal, "httpserver.new", "the registry refuses the server's metrics", err).
			WithFix("give each server a registry of its own")
	}
	return nil
}

// observe gives a request its id, span, metric and line in the access log. It is the outermost
// middleware, so it has the error written before it looks at the status.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	var propagator propagation.TraceContext
	return func(c echo.Context) error {
		start := time.Now()
		r := c.Request()
		id := r.Header.Get(echo.HeaderXRequestID)
		if !printable(id) {
			id = uuid.NewString()
		}
		c.Response().Header().Set(echo.HeaderXRequestID, id)
		c.Set(drainKey, s.draining)

		route := c.Path()
		if route == "" {
			route = "none"
		}
		ctx := propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := s.cfg.Tracer.Start(ctx, r.Method+" "+route, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("http.route", route)))
		defer span.End()
		ctx = telemetry.BeginTrace(ctx) // where spans go nowhere, the log's lines and the facts are still told together
		c.SetRequest(r.WithContext(ctx))

		if err := next(c); err != nil {
			c.Error(err)
		}

		status, took := c.Response().Status, time.Since(start)
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
		if !streamed(c) {
			s.requests.WithLabelValues(method(r.Method), route, strconv.Itoa(status)).Observe(took.Seconds())
		}
		s.cfg.Logger.DebugContext(ctx, "request", slog.String("method", r.Method), slog.String("route", route),
			slog.Int("status", status), slog.Int64("bytes", c.Response().Size), slog.Duration("took", took),
			slog.String("request_id", id))
		return nil
	}
}

// method keeps a caller from making a metric label of his own.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions:
		return m
	}
	return "other"
}

func requestID(c echo.Context) string { return c.Response().Header().Get(echo.HeaderXRequestID) }

// printable says whether a caller's request id may stand in our log.
func printable(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, b := range []byte(id) {
		if b <= ' ' || b > '~' {
			return false
		}
	}
	return true
}

// recoverPanic turns a panic of a handler into an Internal fault, with its stack in the log.
func (s *Server) recoverPanic(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if p := recover(); p != nil {
				s.cfg.Logger.ErrorContext(c.Request().Context(), "handler panicked",
					slog.String("route", c.Path()), slog.String("stack", string(debug.Stack())))
				err = fault.Wrap(fault.Internal, "httpserver.handle", "a defect stopped this request", fmt.Errorf("panic: %v", p))
			}
		}()
		return next(c)
	}
}
