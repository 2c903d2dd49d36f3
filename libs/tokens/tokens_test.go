package tokens_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/tokens"
)

// TestCountIsNearTheVocabulary compares the estimate with true counts of o200k_base, made with the npm
// package gpt-tokenizer. Scripts whose words the vocabulary knows well are overestimated, which errs on
// the safe side of a budget.
func TestCountIsNearTheVocabulary(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/o200k.json")
	if err != nil {
		t.Fatal(err)
	}
	var samples []struct {
		Name  string `json:"name"`
		Text  string `json:"text"`
		O200k int    `json:"o200k"`
	}
	if err := json.Unmarshal(data, &samples); err != nil {
		t.Fatal(err)
	}
	wide := map[string]float64{"ko": 1.5, "ru": 2, "hi": 2, "upper": 1.5, "word": 2.1}
	for _, s := range samples {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			most := 1.3
			if w, ok := wide[s.Name]; ok {
				most = w
			}
			got := tokens.Count("openai/gpt-4o", s.Text)
			if ratio := float64(got) / float64(s.O200k); ratio < 0.85 || ratio > most {
				t.Errorf("estimated %d, true %d: ratio %.2f outside 0.85..%.2f", got, s.O200k, ratio, most)
			}
		})
	}
}

func TestCountNeverFallsWhenTextIsAdded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.OneOf(rapid.String(),
			rapid.StringMatching(`[a-zA-Z0-9 \n.,_{}":-]{0,40}`),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		a, b := piece.Draw(t, "a"), piece.Draw(t, "b")
		whole := tokens.Count("", a+b)
		if whole < tokens.Count("", a) || whole < tokens.Count("", b) {
			t.Fatalf("count of %q is %d, of its parts %d and %d", a+b, whole, tokens.Count("", a), tokens.Count("", b))
		}
		if len(a+b) > 0 && whole < 1 {
			t.Fatalf("count of %q is %d", a+b, whole)
		}
	})
}

func TestMessageCountsEveryPart(t *testing.T) {
	t.Parallel()
	call := chat.ToolCall{ID: "c1", Type: "function", Function: chat.FunctionCall{Name: "read_file", Arguments: `{"path":"a.txt"}`}}
	think := "let me look at the file"
	tests := []struct {
		name       string
		more, less chat.Message
	}{
		{"content", chat.Text(chat.User, "one two three"), chat.Text(chat.User, "one")},
		{"tool calls", chat.Message{Role: chat.Assistant, ToolCalls: []chat.ToolCall{call}}, chat.Message{Role: chat.Assistant}},
		{"reasoning", chat.Message{Role: chat.Assistant, Reasoning: &think}, chat.Message{Role: chat.Assistant}},
		{"name", chat.Result(call, "text"), chat.Text(chat.Tool, "text")},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if more, less := tokens.Message("", tc.more), tokens.Message("", tc.less); more <= less || less < 4 {
				t.Errorf("with the part %d, without %d", more, less)
			}
		})
	}
}

func TestToolsCountSchemas(t *testing.T) {
	t.Parallel()
	spec := chat.ToolSpec{Name: "calculator", Description: "Computes.", Parameters: json.RawMessage(`{"type":"object"}`)}
	if one, two := tokens.Tools("", []chat.ToolSpec{spec}), tokens.Tools("", []chat.ToolSpec{spec, spec}); one < 10 || two != 2*one {
		t.Errorf("one tool %d, two tools %d", one, two)
	}
}

func BenchmarkCount(b *testing.B) {
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. {\"price\": 1234.5}\n", 1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tokens.Count("", text)
	}
}
