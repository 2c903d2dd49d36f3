package service

import (
	"context"
	"reflect"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agentos-kernel/agentos/libs/telemetry"
)

// spanList is the open spans of one batch: each begins when its input is handled and ends with the
// batch's commit, or its failure.
type spanList struct {
	rt    *Runtime
	spans []trace.Span
}

func (r *Runtime) startSpans() *spanList { return &spanList{rt: r} }

func (l *spanList) end() {
	for _, s := range l.spans {
		s.End()
	}
}

// start opens the span of an input below the span that caused it, gives the input the trace context that
// what it causes will carry, and returns the context to handle it in. Without a tracer the cause's own
// context is passed on, and a cause without one begins a trace: the turn stays one trace either way.
func (l *spanList) start(ctx context.Context, in *Input) context.Context {
	ctx = in.context(ctx)
	if l.rt.deps.Tracer != nil {
		ctx = l.open(ctx, in)
	}
	ctx = telemetry.BeginTrace(ctx)
	in.trace = telemetry.TraceParent(ctx)
	return ctx
}

func (l *spanList) open(ctx context.Context, in *Input) context.Context {
	name := "command"
	if in.Record != nil {
		name = in.Record.Kind
	} else if t := reflect.TypeOf(in.Command); t != nil {
		name = t.Name()
	}
	sctx, span := l.rt.deps.Tracer.Start(ctx, l.rt.def.Name+" "+name, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("agentos.service", l.rt.def.Name), attribute.String("agentos.subject", in.Subject)))
	if !span.SpanContext().IsValid() || !span.IsRecording() {
		span.End()
		return ctx
	}
	l.spans = append(l.spans, span)
	return sctx
}

// context is ctx within the trace of what led to the input.
func (in *Input) context(ctx context.Context) context.Context {
	if in.Record != nil {
		return telemetry.ContextWithTrace(ctx, in.Record.TraceParent)
	}
	return telemetry.ContextWithTrace(ctx, in.trace)
}
