// Package telemetry declares the metrics, sets up OpenTelemetry traces, and writes the log.
package telemetry

import (
	"context"
	"os"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// Traces is a tracer and the way to flush it.
type Traces struct {
	Tracer trace.Tracer // nil when traces go nowhere
	Stop   func(ctx context.Context) error
}

// Open sends spans to the OpenTelemetry collector named by OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT. Without either there is no tracer: trace contexts are passed on
// all the same, so that an upstream trace is not cut.
func Open(ctx context.Context, name, version string) (Traces, error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return Traces{Stop: func(context.Context) error { return nil }}, nil
	}
	exp, err := otlptracehttp.New(ctx)
	if err != nil {
		return Traces{}, fault.Wrap(fault.Invalid, "telemetry.open", "cannot use the OTLP endpoint", err).
			WithFix("check OTEL_EXPORTER_OTLP_ENDPOINT, or unset it")
	}
	return New(sdktrace.WithBatcher(exp), name, version), nil
}

// New makes a tracer with a span processor of the caller's choice.
func New(processor sdktrace.TracerProviderOption, name, version string) Traces {
	p := sdktrace.NewTracerProvider(processor, sdktrace.WithResource(resource.NewSchemaless(
		semconv.ServiceName(name), semconv.ServiceVersion(version))))
	return Traces{Tracer: p.Tracer("github.com/agentos-kernel/agentos"), Stop: p.Shutdown}
}
