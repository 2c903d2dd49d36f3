package openai_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/fault"
	api "github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider/openai"
)

func provider(t *testing.T, url string, change ...func(*openai.Config)) *openai.Provider {
	t.Helper()
	cfg := openai.Config{Name: "openai", BaseURL: url, Key: "secret", KeyEnv: "OPENAI_API_KEY", Wait: func(context.Context, time.Duration) {}}
	for _, f := range change {
		f(&cfg)
	}
	p, err := openai.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request() api.Request {
	return api.Request{Model: "m", Messages: []chat.Message{chat.Text(chat.User, "hi <b>")}, MaxTokens: 100, Tools: []chat.ToolSpec{
		{Name: "weather", Description: "Tells the weather.", Parameters: json.RawMessage(`{"type":"object"}`)},
	}}
}

func complete(t *testing.T, p *openai.Provider) (api.Reply, string, error) {
	t.Helper()
	text := ""
	reply, err := p.Complete(t.Context(), request(), func(d api.Delta) {
		if d.Reset {
			text = ""
		}
		text += d.Text
	})
	return reply, text, err
}

// script answers each request with the next of its steps, then with the last one.
func script(t *testing.T, steps ...http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := int(n.Add(1)) - 1
		steps[min(i, len(steps)-1)](w, r)
	}))
	t.Cleanup(srv.Close)
	return srv, &n
}

func stream(frames ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, f := range frames {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", f)
		}
	}
}

func status(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = fmt.Fprint(w, body)
	}
}

func text(s string) string { return fmt.Sprintf(`{"choices":[{"delta":{"content":%q}}]}`, s) }

const stop = `{"choices":[{"delta":{},"finish_reason":"stop"}]}`

func TestRequestIsWhatTheInterfaceAsksFor(t *testing.T) {
	t.Parallel()
	var got map[string]any
	var auth string
	srv, _ := script(t, func(w http.ResponseWriter, r *http.Request) {
		auth = r.Header.Get("Authorization")
		if r.URL.Path != "/v1/chat/completions" || json.NewDecoder(r.Body).Decode(&got) != nil {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		stream(text("ok"), stop, "[DONE]")(w, r)
	})
	if _, _, err := complete(t, provider(t, srv.URL+"/v1/")); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"model": "m", "stream": true, "stream_options": map[string]any{"include_usage": true}, "max_completion_tokens": 100.0,
		"messages": []any{map[string]any{"role": "user", "content": "hi <b>"}},
		"tools": []any{map[string]any{"type": "function", "function": map[string]any{
			"name": "weather", "description": "Tells the weather.", "parameters": map[string]any{"type": "object"},
		}}},
	}
	if diff := cmp.Diff(want, got); diff != "" || auth != "Bearer secret" {
		t.Errorf("authorization %q, body (-want +got):\n%s", auth, diff)
	}
}

func TestAnswersInAllShapes(t *testing.T) {
	t.Parallel()
	call := func(id, name, args string) chat.ToolCall {
		return chat.ToolCall{ID: id, Type: "function", Function: chat.FunctionCall{Name: name, Arguments: args}}
	}
	both := []chat.ToolCall{call("a", "weather", `{"city":"Bern"}`), call("b", "weather", `{"city":"Rome"}`)}
	str := func(s string) *string { return &s }
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   chat.Message
		usage  llm.Usage
		finish string
	}{
		{
			"text with usage behind",
			stream(`{"choices":[{"delta":{"role":"assistant","content":""}}]}`, text("Hel"), text("lo"), stop,
				`{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":1}}}`, "[DONE]"),
			chat.Message{Content: str("Hello")},
			llm.Usage{InputTokens: 9, CachedTokens: 4, OutputTokens: 2, ReasoningTokens: 1},
			"stop",
		},
		{
			"two tool calls interleaved by index",
			stream(`{"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"weather","arguments":""}}]}}]}`,
				`{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"weather","arguments":"{\"ci"}}]}}]}`,
				`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":\"Bern\"}"}},{"index":1,"function":{"arguments":"ty\":\"Rome\"}"}}]}}]}`,
				`{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}`, "[DONE]"),
			chat.Message{ToolCalls: both},
			llm.Usage{},
			"tool_calls",
		},
		{
			"two tool calls under one index, arguments as objects (Ollama)",
			stream(`{"choices":[{"delta":{"content":"","tool_calls":[{"index":0,"id":"a","function":{"name":"weather","arguments":{"city":"Bern"}}}]}}]}`,
				`{"choices":[{"delta":{"content":"","tool_calls":[{"index":0,"id":"b","function":{"name":"weather","arguments":{"city":"Rome"}}}]},"finish_reason":"tool_calls"}]}`, "[DONE]"),
			chat.Message{Content: str(""), ToolCalls: both},
			llm.Usage{},
			"tool_calls",
		},
		{
			"not streamed, two tool calls without index",
			status(200, `{"choices":[{"finish_reason":"tool_calls","message":{"role":"assistant","content":null,"tool_calls":[
				{"id":"a","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Bern\"}"}},
				{"id":"b","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Rome\"}"}}]}}],"usage":{"prompt_tokens":5,"completion_tokens":6}}`,
				"Content-Type", "application/json"),
			chat.Message{ToolCalls: both},
			llm.Usage{InputTokens: 5, OutputTokens: 6},
			"tool_calls",
		},
		{
			"DeepSeek: keep-alives, null usage, reasoning, usage in the finish chunk with choices",
			func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = fmt.Fprint(w, ": keep-alive\n\n: keep-alive\n\n")
				stream(`{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}],"usage":null}`,
					`{"choices":[{"delta":{"content":"4","reasoning_content":null}}],"usage":null}`,
					`{"choices":[{"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_cache_hit_tokens":5,"prompt_cache_miss_tokens":2}}`, "[DONE]")(w, r)
			},
			chat.Message{Content: str("4"), Reasoning: str("hm")},
			llm.Usage{InputTokens: 7, OutputTokens: 3, CachedTokens: 5},
			"stop",
		},
		{
			"Kimi: usage in the choice, cached tokens at the top",
			stream(text("x"), `{"choices":[{"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":8,"completion_tokens":1,"cached_tokens":6}}]}`, "[DONE]"),
			chat.Message{Content: str("x")},
			llm.Usage{InputTokens: 8, OutputTokens: 1, CachedTokens: 6},
			"stop",
		},
		{
			"no [DONE] but a finish, CRLF",
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
				_, _ = fmt.Fprintf(w, "event: x\r\ndata:%s\r\n\r\ndata: %s\r\n\r\n", text("x"), stop)
			},
			chat.Message{Content: str("x")},
			llm.Usage{},
			"stop",
		},
		{
			"all tokens went into reasoning",
			stream(`{"choices":[{"delta":{"content":"","refusal":null}}]}`, `{"choices":[{"delta":{},"finish_reason":"length"}]}`, "[DONE]"),
			chat.Message{Content: str("")},
			llm.Usage{},
			"length",
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			srv, n := script(t, tc.answer)
			reply, streamed, err := complete(t, provider(t, srv.URL))
			if err != nil {
				t.Fatal(err)
			}
			tc.want.Role = chat.Assistant
			if diff := cmp.Diff(tc.want, reply.Message); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.usage, reply.Usage); diff != "" || reply.Reported != (tc.usage != llm.Usage{}) {
				t.Errorf("reported %v %s", reply.Reported, diff)
			}
			if streamed != tc.want.String() || reply.FinishReason != tc.finish || n.Load() != 1 || reply.Tries != 1 {
				t.Errorf("streamed %q, finish %q, %d requests", streamed, reply.FinishReason, n.Load())
			}
		})
	}
}

func TestFailuresAreTriedAgainOrExplained(t *testing.T) {
	t.Parallel()
	good := stream(text("ok"), stop, "[DONE]")
	openaiError := func(code, msg string) string {
		return fmt.Sprintf(`{"error":{"message":%q,"type":"x","param":null,"code":%q}}`, msg, code)
	}
	tests := []struct {
		name     string
		steps    []http.HandlerFunc
		requests int64
		kind     fault.Kind // of the error; ignored when ok
		ok       bool
		says     string
	}{
		{"429 then fine", []http.HandlerFunc{status(429, openaiError("rate_limit_exceeded", "slow down"), "Retry-After", "1"), good}, 2, 0, true, ""},
		{"500 and 503 then fine", []http.HandlerFunc{status(500, "oops"), status(503, ""), good}, 3, 0, true, ""},
		{"500 for ever", []http.HandlerFunc{status(500, `{"error":"model crashed"}`)}, 3, fault.Unavailable, false, "model crashed (3 tries)"},
		{"out of money", []http.HandlerFunc{status(429, openaiError("insufficient_quota", "no credit")), good}, 1, fault.Quota, false, "no credit"},
		{"payment", []http.HandlerFunc{status(402, "{}"), good}, 1, fault.Quota, false, "Payment Required"},
		{"asked to wait for an hour", []http.HandlerFunc{status(429, "{}", "Retry-After", "3600"), good}, 1, fault.Unavailable, false, "Too Many"},
		{"wrong key", []http.HandlerFunc{status(401, openaiError("invalid_api_key", "bad key")), good}, 1, fault.Denied, false, "bad key"},
		{"no such model", []http.HandlerFunc{status(404, openaiError("model_not_found", "no model")), good}, 1, fault.NotFound, false, "no model"},
		{"bad request", []http.HandlerFunc{status(400, openaiError("x", "bad tool")), good}, 1, fault.Invalid, false, "bad tool"},
		{"no JSON", []http.HandlerFunc{status(200, "<html>", "Content-Type", "text/html")}, 1, fault.Internal, false, "not the JSON"},
		{"empty answer", []http.HandlerFunc{stream("[DONE]"), good}, 2, 0, true, ""},
		{"error within the stream", []http.HandlerFunc{stream(text("a"), `{"error":{"message":"overloaded","code":503}}`), good}, 2, 0, true, ""},
		{"bad request within the stream", []http.HandlerFunc{stream(`{"error":{"message":"too long","type":"invalid_request_error","code":null}}`), good}, 1, fault.Invalid, false, "too long"},
		{"cut off without a finish", []http.HandlerFunc{stream(text("a")), good}, 2, 0, true, ""},
		{"the old limit", []http.HandlerFunc{
			status(400, `{"error":{"message":"use max_tokens","param":"max_completion_tokens","code":"unsupported_parameter"}}`), good,
		}, 2, 0, true, ""},
		{"too many output tokens", []http.HandlerFunc{
			status(400, openaiError("context_length_exceeded", "This model's maximum context length is 256 tokens, your request asks for 12 + 300.")), good,
		}, 2, 0, true, ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			srv, n := script(t, tc.steps...)
			reply, streamed, err := complete(t, provider(t, srv.URL))
			if n.Load() != tc.requests || reply.Tries != int(tc.requests) {
				t.Errorf("%d requests, %d tries, want %d", n.Load(), reply.Tries, tc.requests)
			}
			if tc.ok {
				if err != nil || streamed != "ok" || reply.Message.String() != "ok" {
					t.Errorf("streamed %q, reply %q: %v", streamed, reply.Message.String(), err)
				}
				return
			}
			if !fault.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v of kind %v, want %v", err, fault.KindOf(err), tc.kind)
			}
		})
	}
}

func TestLostTriesAreToldForTheAccount(t *testing.T) {
	t.Parallel()
	srv, _ := script(t, stream(text("half an ans")), stream(text("ok"), stop, "[DONE]"))
	reply, _, err := complete(t, provider(t, srv.URL))
	if err != nil || len(reply.Lost) != 1 || reply.Lost[0].Message.String() != "half an ans" {
		t.Errorf("lost %+v: %v", reply.Lost, err)
	}
}

func TestWaitsAreWhatTheServerAsksFor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		header      []string
		least, most time.Duration
	}{
		{"seconds", []string{"Retry-After", "7"}, 7 * time.Second, 8 * time.Second},
		{"milliseconds win", []string{"Retry-After", "7", "Retry-After-Ms", "2500"}, 2500 * time.Millisecond, 3 * time.Second},
		{"a date that is past", []string{"Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"}, 250 * time.Millisecond, 750 * time.Millisecond},
		{"nothing", nil, 250 * time.Millisecond, 750 * time.Millisecond},
		{"nonsense", []string{"Retry-After", "soon"}, 250 * time.Millisecond, 750 * time.Millisecond},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			srv, _ := script(t, status(429, "{}", tc.header...), stream(text("ok"), stop, "[DONE]"))
			var waited []time.Duration
			p := provider(t, srv.URL, func(c *openai.Config) {
				c.Wait = func(_ context.Context, d time.Duration) { waited = append(waited, d) }
			})
			if _, _, err := complete(t, p); err != nil || len(waited) != 1 || waited[0] < tc.least || waited[0] > tc.most {
				t.Errorf("waited %v: %v", waited, err)
			}
		})
	}
}

func TestSilenceEndsATry(t *testing.T) {
	t.Parallel()
	silent := func(first string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = fmt.Fprint(w, first)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}
	for name, first := range map[string]string{"no answer began": ": keep-alive\n\n", "the answer stopped": "data: " + text("a") + "\n\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, n := script(t, silent(first))
			p := provider(t, srv.URL, func(c *openai.Config) { c.FirstToken, c.Idle = 500*time.Millisecond, 500*time.Millisecond })
			_, _, err := complete(t, p)
			if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), name) || n.Load() != 3 {
				t.Errorf("%v after %d requests", err, n.Load())
			}
		})
	}
}

func TestCancelClosesTheConnection(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	srv, _ := script(t, func(w http.ResponseWriter, r *http.Request) {
		stream(text("Hel"))(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("killed")
	reply, err := provider(t, srv.URL).Complete(ctx, request(), func(api.Delta) { cancel(cause) })
	if !fault.Is(err, fault.Canceled) || !errors.Is(err, cause) || reply.Message.String() != "Hel" || reply.Tries != 1 {
		t.Errorf("%v, reply %+v", err, reply)
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the server was not told")
	}
}

func TestCancelEndsAWait(t *testing.T) {
	t.Parallel()
	srv, n := script(t, status(503, "{}", "Retry-After", "50"))
	ctx, cancel := context.WithCancel(t.Context())
	p := provider(t, srv.URL, func(c *openai.Config) {
		c.Wait = func(ctx context.Context, _ time.Duration) { cancel(); <-ctx.Done() }
	})
	if _, err := p.Complete(ctx, request(), nil); !fault.Is(err, fault.Canceled) || n.Load() != 1 {
		t.Errorf("%v after %d requests", err, n.Load())
	}
}

func TestLargeAnswersAreRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2000)
	endless := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 100 {
			if _, err := io.WriteString(w, strings.Repeat("y", 1<<16)); err != nil {
				return
			}
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"streamed": stream(text(long), stop, "[DONE]"), "line without end": endless,
		"whole": status(200, fmt.Sprintf(`{"choices":[{"message":{"content":%q},"finish_reason":"stop"}]}`, long), "Content-Type", "application/json"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, n := script(t, answer)
			_, _, err := complete(t, provider(t, srv.URL, func(c *openai.Config) { c.MaxBytes = 1000 }))
			if !fault.Is(err, fault.Internal) || n.Load() != 1 {
				t.Errorf("%v after %d requests", err, n.Load())
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := complete(t, provider(t, url)); !fault.Is(err, fault.Unavailable) || fault.FixOf(err) == "" {
		t.Errorf("got %v", err)
	}
	if _, err := openai.New(openai.Config{Name: "x", BaseURL: "localhost:1234"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a base URL without scheme: %v", err)
	}
}

func TestContextSizeIsLearned(t *testing.T) {
	t.Parallel()
	var asked []float64
	srv, _ := script(t, func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Limit float64 `json:"max_completion_tokens"`
		}
		_ = json.NewDecoder(bufio.NewReader(r.Body)).Decode(&body)
		asked = append(asked, body.Limit)
		if body.Limit > 500 {
			status(400, `{"error":{"message":"This model's maximum context length is 4096 tokens. However, you requested 9000 tokens","code":"context_length_exceeded"}}`)(w, r)
			return
		}
		stream(text("ok"), stop, "[DONE]")(w, r)
	})
	p := provider(t, srv.URL)
	req := request()
	req.MaxTokens = 8000
	if _, err := p.Complete(t.Context(), req, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]float64{8000, 1024, 256}, asked); diff != "" || p.ContextTokens("m") != 4096 || p.ContextTokens("other") != 0 {
		t.Errorf("asked %v, learned %d", asked, p.ContextTokens("m"))
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("data: " + text("a") + "\n\ndata: [DONE]\n\n")
	f.Add("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":-1,\"function\":{\"arguments\":5}}]}}]}\n\n")
	f.Add(":\n\ndata:\ndata:\n\n")
	f.Fuzz(func(t *testing.T, body string) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, body)
		}))
		defer srv.Close()
		p := provider(t, srv.URL, func(c *openai.Config) { c.MaxTries = 1 })
		reply, _, err := complete(t, p)
		if err == nil && reply.FinishReason == "" && !strings.Contains(body, "[DONE]") {
			t.Errorf("a cut answer counts as whole: %q", body)
		}
	})
}
