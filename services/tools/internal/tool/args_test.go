package tool_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
)

func TestNormalize(t *testing.T) {
	t.Parallel()
	for in, ok := range map[string]bool{
		"": true, " \n": true, "{}": true, ` {"a":[1,{"b":null}]} `: true, `{"a":{"b":1},"c":{"b":1}}`: true,
		"null": false, "[]": false, `"x"`: false, "1": false, "{": false, "{}{}": false, `{"a":1,}`: false, `{'a':1}`: false,
		`{"a":1,"a":1}`: false, `{"a":1,"A":1}`: false, `{"x":{"a":1,"A":1}}`: false, `{"x":[{"a":1,"a":1}]}`: false,
		`{"a":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + "}":           true,
		`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}":           false,
		strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40):                 false,
		strings.Repeat(`{"a":`, 200_000) + "1" + strings.Repeat("}", 200_000):       false,
		`{"a":"` + strings.Repeat("x", 1<<20) + `"}`:                                false,
		`{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}": false,
		"{\"a\":\"\xff\"}": true, "{\"a\":\"\x01\"}": false, `{"a":1e999}`: true, "\ufeff{}": false,
	} {
		t.Run(in[:min(len(in), 20)], func(t *testing.T) {
			t.Parallel()
			raw, err := tool.Normalize(in)
			if (err == nil) != ok || err == nil && !json.Valid(raw) {
				t.Errorf("Normalize(%.40q) = %.40q, %v", in, raw, err)
			}
			if err != nil && (!fault.Is(err, fault.Invalid) || fault.FixOf(err) == "") {
				t.Errorf("Normalize(%.40q): %v is not Invalid with a fix", in, err)
			}
		})
	}
}

func FuzzArguments(f *testing.F) {
	for _, s := range []string{`{"path":"x","offset":3}`, `{"Path":1}`, `{"path":"a","path":"b"}`, "", `{"a":[[{}]]}`, "{}{}"} {
		f.Add(s)
	}
	schema, err := tool.CompileSchema(chat.ToolSpec{Name: "t", Parameters: json.RawMessage(
		`{"type":"object","properties":{"path":{"type":"string"},"offset":{"type":"integer"}},"additionalProperties":false}`)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in string) {
		raw, err := schema.Check(in)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("Check(%q) = %v", in, err)
			}
			return
		}
		// What the schema lets through, a tool can read: both see the same arguments.
		var a struct {
			Path   string      `json:"path"`
			Offset json.Number `json:"offset"`
		}
		if err := tool.Decode(raw, &a); err != nil {
			t.Fatalf("Decode(%q) = %v after the schema accepted it", raw, err)
		}
	})
}

func TestSchema(t *testing.T) {
	t.Parallel()
	compile := func(parameters string) (*tool.Schema, error) {
		return tool.CompileSchema(chat.ToolSpec{Name: "t", Parameters: json.RawMessage(parameters)})
	}
	for _, bad := range []string{
		`{`, `5`, `{"type":"nonsense"}`, `{"$ref":"http://127.0.0.1:1/schema.json"}`, `{"$ref":"file:///etc/passwd"}`,
		`{"$ref":"#/$defs/none"}`, `{"pattern":"("}`,
	} {
		if _, err := compile(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("CompileSchema(%s) = %v, want Invalid", bad, err)
		}
	}
	s, err := compile(`{"type":"object","properties":{"n":{"type":"integer","maximum":3},"s":{"enum":["a","b"]}},"required":["n"],"additionalProperties":false}`)
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		`{"n":1}`:                "",
		`{"n":1.0,"s":"a"}`:      "",
		`{}`:                     "wrong arguments: missing property 'n'. Call again with these mended.",
		`{"n":"1"}`:              `wrong arguments: "n": got string, want integer. Call again with these mended.`,
		`{"n":9,"s":"c","x":{}}`: "", // several at once: order is not promised, see below
	} {
		_, err := s.Check(in)
		if in == `{"n":9,"s":"c","x":{}}` {
			_, reason := tool.Explain(err)
			for _, part := range []string{"'x' not allowed", "maximum", "one of"} {
				if !strings.Contains(reason, part) {
					t.Errorf("Check(%s) = %q, want %q in it", in, reason, part)
				}
			}
			continue
		}
		if got := explain(err); got != want {
			t.Errorf("Check(%s) = %q, want %q", in, got, want)
		}
	}
	if empty, err := compile(""); err != nil {
		t.Error(err)
	} else if _, err := empty.Check(`{"anything":1}`); err != nil {
		t.Error(err)
	}
}

func explain(err error) string {
	if err == nil {
		return ""
	}
	_, reason := tool.Explain(err)
	return reason
}

// stub is a tool that does what a test wants.
type stub func(ctx context.Context) (string, error)

func (stub) Spec() chat.ToolSpec { return chat.ToolSpec{Name: "stub"} }
func (stub) Class() string       { return "pure" }
func (s stub) Call(ctx context.Context, _ tool.Env, _ json.RawMessage) (string, error) {
	return s(ctx)
}

func TestRun(t *testing.T) {
	t.Parallel()
	wait := func(ctx context.Context) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}
	for name, c := range map[string]struct {
		call    stub
		timeout time.Duration
		want    tool.Outcome
	}{
		"result": {func(context.Context) (string, error) { return "ok", nil }, time.Minute, tool.Outcome{Result: "ok"}},
		"panic": {
			func(context.Context) (string, error) { panic("secret path /home") }, time.Minute,
			tool.Outcome{Code: "internal", Reason: "stub broke. This is a defect of the tool. Go on without it."},
		},
		"plain error": {
			func(context.Context) (string, error) { return "", errors.New("open /home/x: no") }, time.Minute,
			tool.Outcome{Code: "internal", Reason: "the tool failed. Go on without it."},
		},
		"time limit": {wait, time.Millisecond, tool.Outcome{Code: "quota", Reason: "stub was stopped at its time limit of 1ms. Ask for less in one call."}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tool.Run(t.Context(), c.call, tool.Env{}, nil, tool.Limits{Timeout: c.timeout, OutputBytes: 1024})
			got.Duration = 0
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// A tool that was done before it saw the cancel keeps its result: what happened is told as happened.
func TestRunKeepsWhatWasDone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	got := tool.Run(ctx, stub(func(context.Context) (string, error) {
		cancel()
		return "done", nil
	}), tool.Env{}, nil, tool.Limits{Timeout: time.Minute, OutputBytes: 1024})
	if got.Cancelled || got.Result != "done" {
		t.Errorf("got %+v", got)
	}
}
