package openai_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// recording is one exchange of a go-vcr cassette.
type recording struct {
	Interactions []struct {
		Response struct {
			Body    string              `yaml:"body"`
			Headers map[string][]string `yaml:"headers"`
			Code    int                 `yaml:"code"`
		} `yaml:"response"`
	} `yaml:"interactions"`
}

// TestRecordedTrafficDecodes serves what OpenAI really answered and compares what we make of it with
// the recorded JSON read without our types.
func TestRecordedTrafficDecodes(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/envoy/*.yaml")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%d recordings: %v", len(paths), err)
	}
	kinds := map[string]fault.Kind{"chat-unknown-model": fault.NotFound, "chat-bad-request": fault.Invalid, "chat-no-messages": fault.Invalid}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var rec recording
			if err := yaml.Unmarshal(data, &rec); err != nil {
				t.Fatal(err)
			}
			resp := rec.Interactions[0].Response
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", resp.Headers["Content-Type"][0])
				w.WriteHeader(resp.Code)
				_, _ = w.Write([]byte(resp.Body))
			}))
			t.Cleanup(srv.Close)
			reply, text, err := complete(t, provider(t, srv.URL))
			if want, bad := kinds[name]; bad {
				if !fault.Is(err, want) || fault.FixOf(err) == "" && want == fault.NotFound {
					t.Errorf("error %v of kind %v, want %v", err, fault.KindOf(err), want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := expected(t, resp.Body)
			if reply.Message.String() != want.text || text != want.text || reply.FinishReason != want.finish {
				t.Errorf("text %q, streamed %q, finish %q; want %q and %q", reply.Message.String(), text, reply.FinishReason, want.text, want.finish)
			}
			if len(reply.Message.ToolCalls) != want.calls {
				t.Errorf("%d tool calls, want %d", len(reply.Message.ToolCalls), want.calls)
			}
			if reply.Reported != (want.input > 0) || reply.Usage.InputTokens != want.input || reply.Usage.OutputTokens != want.output ||
				reply.Usage.ReasoningTokens != want.reasoning {
				t.Errorf("usage %+v reported %v, want %+v", reply.Usage, reply.Reported, want)
			}
		})
	}
}

type figures struct {
	text, finish             string
	calls                    int
	input, output, reasoning int64
}

// expected reads an answer, streamed or not, in the plainest way.
func expected(t *testing.T, body string) figures {
	t.Helper()
	var docs []string
	for line := range strings.Lines(body) {
		if data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok && data != "[DONE]" {
			docs = append(docs, data)
		}
	}
	if docs == nil {
		docs = []string{body}
	}
	var f figures
	for _, doc := range docs {
		var m map[string]any
		if err := json.Unmarshal([]byte(doc), &m); err != nil {
			t.Fatal(err)
		}
		if u, ok := m["usage"].(map[string]any); ok {
			f.input, f.output = number(u, "prompt_tokens"), number(u, "completion_tokens")
			if d, ok := u["completion_tokens_details"].(map[string]any); ok {
				f.reasoning = number(d, "reasoning_tokens")
			}
		}
		choices, _ := m["choices"].([]any)
		for _, c := range choices {
			choice, _ := c.(map[string]any)
			if s, ok := choice["finish_reason"].(string); ok {
				f.finish = s
			}
			for _, key := range []string{"delta", "message"} {
				piece, _ := choice[key].(map[string]any)
				if s, ok := piece["content"].(string); ok {
					f.text += s
				}
				calls, _ := piece["tool_calls"].([]any)
				f.calls += len(calls)
			}
		}
	}
	return f
}

func number(m map[string]any, key string) int64 {
	n, _ := m[key].(float64)
	return int64(n)
}
