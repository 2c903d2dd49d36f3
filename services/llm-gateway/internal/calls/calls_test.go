package calls_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/calls"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
)

// fake is a provider that does as it is told.
type fake func(ctx context.Context, onDelta func(provider.Delta)) (provider.Reply, error)

func (f fake) Complete(ctx context.Context, _ provider.Request, onDelta func(provider.Delta)) (provider.Reply, error) {
	return f(ctx, onDelta)
}

func answer(text string) provider.Reply {
	return provider.Reply{Message: chat.Text(chat.Assistant, text), FinishReason: "stop", Tries: 1, Model: "m-1", ID: "x"}
}

func job(p provider.Provider) calls.Job {
	return calls.Job{
		Tenant: "default", PID: "p", Call: llm.Call{ID: "p/1/0", Step: 1, Attempt: 1}, Model: "openai/m", ProviderName: "openai",
		Provider: p, Request: provider.Request{Model: "m"}, PromptTokens: 1000, Price: core.Price{Known: true, Input: 1e6, Cached: 1e5, Output: 1e7},
	}
}

func quiet() *calls.Calls {
	return calls.New(noop.NewTracerProvider().Tracer(""), slog.New(slog.DiscardHandler), nil)
}

func TestOutcomesAndTheirAccounts(t *testing.T) {
	t.Parallel()
	cut := errors.New("cut")
	tests := []struct {
		name  string
		reply provider.Reply
		err   error
		kind  string
		code  string
		usage llm.Usage
	}{
		{
			"reported",
			provider.Reply{Message: chat.Text(chat.Assistant, "hi"), Usage: llm.Usage{InputTokens: 900, CachedTokens: 400, OutputTokens: 10}, Reported: true},
			nil,
			"finish", "",
			llm.Usage{InputTokens: 900, CachedTokens: 400, OutputTokens: 10, CostMicroUSD: 500 + 40 + 100},
		},
		{"counted", answer("hi"), nil, "finish", "", llm.Usage{InputTokens: 1000, OutputTokens: 5, CostMicroUSD: 1050, Counted: true}},
		{
			"a lost try",
			provider.Reply{
				Message: chat.Text(chat.Assistant, "hi"), Usage: llm.Usage{InputTokens: 900, OutputTokens: 10}, Reported: true,
				Lost: []provider.Lost{{Message: chat.Text(chat.Assistant, "hi")}},
			},
			nil,
			"finish", "",
			llm.Usage{InputTokens: 1900, OutputTokens: 15, CostMicroUSD: 1000 + 1050, Counted: true, Unknown: true},
		},
		{"refused by the provider", provider.Reply{Tries: 1}, fault.New(fault.Denied, "x", "bad key").WithFix("check it"), "fail", "denied", llm.Usage{}},
		{
			"cut in the middle", answer("hi"), fault.Wrap(fault.Unavailable, "x", "cut off", cut), "fail", "unavailable",
			llm.Usage{InputTokens: 1000, OutputTokens: 5, CostMicroUSD: 1050, Counted: true, Unknown: true},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := quiet()
			c.Put(job(fake(func(context.Context, func(provider.Delta)) (provider.Reply, error) { return tc.reply, tc.err })))
			var usage llm.Usage
			kind, code := "", ""
			switch end := c.Run(t.Context(), "default", "p/1/0", 1).(type) {
			case core.Finish:
				kind, usage = "finish", end.Usage
			case core.Fail:
				kind, code, usage = "fail", end.Code, end.Usage
				if strings.Contains(end.Reason, "cut;") || end.Reason == "" {
					t.Errorf("reason %q", end.Reason)
				}
			case core.Start, core.Cancel, core.TakeOver, core.Publish:
				t.Errorf("ended with %+v", end)
			}
			if kind != tc.kind || code != tc.code {
				t.Errorf("%s %s, want %s %s", kind, code, tc.kind, tc.code)
			}
			if diff := cmp.Diff(tc.usage, usage); diff != "" {
				t.Error(diff)
			}
			if c.Open("default", "p") != "" {
				t.Error("the job is still held")
			}
		})
	}
}

func TestStopsAreToldApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := quiet()
		talk := fake(func(ctx context.Context, onDelta func(provider.Delta)) (provider.Reply, error) {
			<-ctx.Done()
			r := answer("half")
			r.FinishReason = ""
			return r, fault.Wrap(fault.Canceled, "x", "stopped", context.Cause(ctx))
		})
		j := job(talk)
		j.Limit = time.Minute
		c.Put(j)
		if end, ok := c.Run(t.Context(), "default", "p/1/0", 1).(core.Fail); !ok || end.Code != "unavailable" || !strings.Contains(end.Reason, "1m0s") || end.Usage.OutputTokens == 0 {
			t.Errorf("past its limit: %+v", end)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		c.Put(j)
		go func() { time.Sleep(time.Second); cancel(calls.Ended("the process was killed")) }()
		if end, ok := c.Run(ctx, "default", "p/1/0", 1).(core.Cancel); !ok || end.Reason != "the process was killed" || end.Usage.InputTokens != 1000 || !end.Usage.Unknown {
			t.Errorf("killed: %+v", end)
		}
		c.Put(j)
		if end, ok := c.Run(ctx, "default", "p/1/0", 1).(core.Cancel); !ok || end.Usage != (llm.Usage{}) {
			t.Errorf("killed before it began: %+v", end)
		}
		if end, ok := c.Run(t.Context(), "default", "p/1/0", 1).(core.Fail); !ok || end.Code != "internal" {
			t.Errorf("without a job: %+v", end)
		}
		c.Put(j)
		c.Drop("default", "p/1/0", 2)
		if c.Open("default", "p") != "p/1/0" || c.Open("other", "p") != "" {
			t.Error("another attempt's drop, or another tenant, touches the job")
		}
	})
}

// sink collects published deltas.
type sink struct {
	mu   sync.Mutex
	got  []calls.Delta
	at   []time.Duration
	from time.Time
	err  error
}

func (s *sink) publish(_ context.Context, topic, key string, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var d calls.Delta
	if err := json.Unmarshal(payload, &d); err != nil || topic != events.DeltasTopic || key != "p" {
		return err
	}
	s.got, s.at = append(s.got, d), append(s.at, time.Since(s.from))
	return s.err
}

func TestDeltasAreCoalesced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sink{from: time.Now()}
		c := calls.New(noop.NewTracerProvider().Tracer(""), slog.New(slog.DiscardHandler), s.publish)
		c.Put(job(fake(func(_ context.Context, onDelta func(provider.Delta)) (provider.Reply, error) {
			onDelta(provider.Delta{Text: "first"})
			for range 100 {
				time.Sleep(time.Millisecond)
				onDelta(provider.Delta{Text: "x"})
			}
			onDelta(provider.Delta{Text: strings.Repeat("y", 5000)}) // much at once does not wait
			time.Sleep(time.Millisecond)
			onDelta(provider.Delta{Reset: true})
			onDelta(provider.Delta{Text: "again"})
			return answer("again"), nil
		})))
		c.Run(t.Context(), "default", "p/1/0", 1)
		synctest.Wait()
		if len(s.got) < 4 || len(s.got) > 8 || s.at[0] != 0 || s.got[0].Text != "first" {
			t.Fatalf("%d messages, the first %+v after %v", len(s.got), s.got[0], s.at[0])
		}
		text := ""
		for _, d := range s.got {
			if d.Reset {
				text = ""
			}
			if d.Offset != len(text) || d.CallID != "p/1/0" || d.Attempt != 1 {
				t.Errorf("delta %+v behind %d bytes", d, len(text))
			}
			text += d.Text
		}
		if text != "again" {
			t.Errorf("the deltas make %q", text)
		}
	})
}

func TestDeltasNeverFailACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sink{from: time.Now(), err: errors.New("broker away")}
		c := calls.New(noop.NewTracerProvider().Tracer(""), slog.New(slog.DiscardHandler), s.publish)
		j := job(fake(func(_ context.Context, onDelta func(provider.Delta)) (provider.Reply, error) {
			for range 100 {
				onDelta(provider.Delta{Text: strings.Repeat("z", 10_000)})
			}
			return answer("z"), nil
		}))
		j.Call.Attempt = 2
		c.Put(j)
		if end, ok := c.Run(t.Context(), "default", "p/1/0", 2).(core.Finish); !ok || end.Message.String() != "z" {
			t.Errorf("ended with %+v", end)
		}
		synctest.Wait()
		if !s.got[0].Reset {
			t.Errorf("a second attempt does not reset: %+v", s.got[0].Attempt)
		}
	})
}

func TestSpanHasTheConventionsNames(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	c := calls.New(tp.Tracer("test"), slog.New(slog.DiscardHandler), nil)
	c.Put(job(fake(func(context.Context, func(provider.Delta)) (provider.Reply, error) {
		return answer("secret words"), nil
	})))
	c.Run(t.Context(), "default", "p/1/0", 1)
	ended := spans.Ended()
	if len(ended) != 1 || ended[0].Name() != "chat m" {
		t.Fatalf("spans %v", ended)
	}
	set := attribute.NewSet(ended[0].Attributes()...)
	for key, want := range map[attribute.Key]string{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m", "gen_ai.response.model": "m-1",
		"gen_ai.usage.input_tokens": "1000", "gen_ai.conversation.id": "p", "gen_ai.response.finish_reasons": `["stop"]`,
	} {
		if v, ok := set.Value(key); !ok || v.String() != want {
			t.Errorf("%s is %q, want %q", key, v.String(), want)
		}
	}
	for _, kv := range ended[0].Attributes() {
		if strings.Contains(kv.Value.String(), "secret") {
			t.Errorf("%s holds the answer", kv.Key)
		}
	}
}
