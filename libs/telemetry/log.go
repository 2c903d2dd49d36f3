package telemetry

import (
	"context"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// LogVariable names the environment variable that chooses the form of the log.
const LogVariable = "AGENTOS_LOG"

// The forms of the log.
const (
	LogText = "text" // for people
	LogJSON = "json" // one object a line, for programs
)

// NewLogger logs to w in a form, from a level on: debug, info, warn or error. A line whose context
// belongs to a trace carries trace_id and span_id.
func NewLogger(w io.Writer, form, level string) (*slog.Logger, error) {
	const op = "telemetry.log"
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fault.Newf(fault.Invalid, op, "unknown log level %q", level).WithFix("use debug, info, warn or error")
	}
	opts := &slog.HandlerOptions{Level: l}
	switch form {
	case LogText:
		return slog.New(traced{slog.NewTextHandler(w, opts)}), nil
	case LogJSON:
		return slog.New(traced{slog.NewJSONHandler(w, opts)}), nil
	}
	return nil, fault.Newf(fault.Invalid, op, "%s: unknown form of the log %q", LogVariable, form).
		WithFix("set " + LogVariable + " to json or text, or unset it")
}

// traced adds the trace of a line's context to it.
type traced struct{ slog.Handler }

// Handle implements [slog.Handler].
func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r = r.Clone() // handlers may share what is behind it
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(attrs)} }

// WithGroup implements [slog.Handler].
func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }
