package service

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"reflect"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
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

// start opens the span of an input below the span that caused it and returns the trace context that
// what it causes will carry. Without a tracer the cause's own context is passed on, and a cause without
// one begins a trace: the turn stays one trace either way.
func (l *spanList) start(ctx context.Context, in *Input) string {
	parent := in.trace
	if in.Record != nil {
		parent = in.Record.TraceParent
	}
	if parent == "" {
		parent = newTraceParent()
	}
	if l.rt.deps.Tracer == nil {
		return parent
	}
	name := "command"
	if in.Record != nil {
		name = in.Record.Kind
	} else if t := reflect.TypeOf(in.Command); t != nil {
		name = t.Name()
	}
	sctx, span := l.rt.deps.Tracer.Start(ContextWithTrace(ctx, parent), l.rt.def.Name+" "+name,
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("agentos.service", l.rt.def.Name), attribute.String("agentos.subject", in.Subject)))
	if !span.SpanContext().IsValid() || !span.IsRecording() {
		span.End()
		return parent
	}
	l.spans = append(l.spans, span)
	return traceParent(sctx)
}

// ContextWithTrace puts a W3C traceparent into a context as the remote parent of new spans.
func ContextWithTrace(ctx context.Context, parent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent})
}

func traceParent(ctx context.Context) string {
	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	return c["traceparent"]
}

// newTraceParent begins a trace, by the format of W3C Trace Context, sampled.
func newTraceParent() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return "00-" + hex.EncodeToString(b[:16]) + "-" + hex.EncodeToString(b[16:]) + "-01"
}
