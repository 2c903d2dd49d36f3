package calls

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
)

// span begins the span of a provider call. Names are those of the OpenTelemetry conventions for
// generative AI, v1.41 (development status); prompts and answers are not recorded.
func (c *Calls) span(ctx context.Context, j Job) (context.Context, trace.Span) {
	return c.tracer.Start(ctx, "chat "+j.Request.Model, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes( //nolint:spancheck // Run ends it
		attribute.String("gen_ai.operation.name", "chat"),
		attribute.String("gen_ai.provider.name", j.ProviderName),
		attribute.String("gen_ai.request.model", j.Request.Model),
		attribute.Int("gen_ai.request.max_tokens", j.Request.MaxTokens),
		attribute.Bool("gen_ai.request.stream", true),
		attribute.String("gen_ai.conversation.id", j.PID),
		attribute.String("agentos.call_id", j.Call.ID),
		attribute.Int("agentos.attempt", j.Call.Attempt),
	))
}

// record writes the outcome into the span.
func record(span trace.Span, reply provider.Reply, end core.Command, err error) {
	if !span.IsRecording() {
		return
	}
	var u llm.Usage
	switch end := end.(type) {
	case core.Finish:
		u = end.Usage
	case core.Fail:
		u = end.Usage
	case core.Cancel:
		u = end.Usage
	case core.Start, core.TakeOver, core.Publish:
	}
	span.SetAttributes(
		attribute.Int64("gen_ai.usage.input_tokens", u.InputTokens),
		attribute.Int64("gen_ai.usage.output_tokens", u.OutputTokens),
		attribute.Int64("gen_ai.usage.cache_read.input_tokens", u.CachedTokens),
		attribute.Int64("gen_ai.usage.reasoning.output_tokens", u.ReasoningTokens),
		attribute.Bool("agentos.usage.counted", u.Counted),
		attribute.Int("agentos.tries", reply.Tries),
	)
	if reply.Model != "" {
		span.SetAttributes(attribute.String("gen_ai.response.model", reply.Model))
	}
	if reply.ID != "" {
		span.SetAttributes(attribute.String("gen_ai.response.id", reply.ID))
	}
	if reply.FinishReason != "" {
		span.SetAttributes(attribute.StringSlice("gen_ai.response.finish_reasons", []string{reply.FinishReason}))
	}
	if reply.FirstToken > 0 {
		span.SetAttributes(attribute.Float64("gen_ai.response.time_to_first_chunk", reply.FirstToken.Seconds()))
	}
	if err != nil {
		kind := fault.KindOf(err).String()
		span.SetAttributes(attribute.String("error.type", kind))
		span.SetStatus(codes.Error, kind)
	}
}
