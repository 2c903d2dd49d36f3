package cassette_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func TestRedactorTakesOutWhatLooksLikeAKey(t *testing.T) {
	t.Parallel()
	r := cassette.NewRedactor("hunter2-hunter2", "true", "line\nbreak-secret")
	gone := map[string]string{
		"openai":        "sk-" + "proj-abcdefghijklmnop1234",
		"aws":           "AKIA" + "IOSFODNN7EXAMPLE",
		"github":        "ghp_" + "abcdefghijklmnopqrstuvwxyz0123456789",
		"slack":         "xoxb-" + "1234567890-abcdef",
		"google":        "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
		"jwt":           "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
		"given value":   "hunter2-hunter2",
		"escaped value": `line\nbreak-secret`,
		"private key":   "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----",
	}
	for name, secret := range gone {
		if got := r.Text("before " + secret + " after"); got != "before "+cassette.Redacted+" after" {
			t.Errorf("%s: %q", name, got)
		}
	}
	headers := map[string]string{ //nolint:gosec // made up: to be redacted
		"Authorization: Basic dXNlcjpwYXNzd29yZA==":             "Authorization: Basic [REDACTED]",
		"authorization: Bearer abc":                             "authorization: Bearer [REDACTED]",
		`{"Authorization": "Bearer abcdef123456"}`:              `{"Authorization": "Bearer [REDACTED]"}`,
		`curl -H 'X-API-Key: 0123456789abcdef' host`:            `curl -H 'X-API-Key: [REDACTED]' host`,
		`{"cmd":"curl -H \"Authorization: Bearer abcdefg\" x"}`: `{"cmd":"curl -H \"Authorization: Bearer [REDACTED]\" x"}`,
		`api_key = "0123456789abcdef"`:                          `api_key = "[REDACTED]"`,
	}
	for in, want := range headers {
		if got := r.Text(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	for _, kept := range []string{"it is true", "the bearer of this letter", "task-force", "ask-me-anything-about-this-thing", "authorization was given"} {
		if got := r.Text(kept); got != kept {
			t.Errorf("%q became %q", kept, got)
		}
	}
}

func TestBuilderWritesACleanCassetteThatReplays(t *testing.T) {
	t.Parallel()
	secret := "sk-" + "abcdefghijklmnopqrstuvwx"
	think := "the key is " + secret
	messages := []chat.Message{
		chat.Text(chat.User, "use "+secret),
		{Role: chat.Assistant, Reasoning: &think, ToolCalls: []chat.ToolCall{call("1", "http", `{"key":"`+secret+`"}`)}},
		chat.Result(call("1", "http", ""), "ok "+secret),
		chat.Text(chat.Assistant, "done with "+secret),
	}
	b := cassette.NewBuilder(cassette.Header{Name: "rec", Origin: cassette.OriginProvider}, secret)
	b.Add("one", messages, map[string]any{"pid": "p1"})
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), secret) {
		t.Error("the secret is in the cassette")
	}
	if *messages[0].Content != "use "+secret {
		t.Error("the caller's messages were changed")
	}
	c, err := cassette.Read(&out)
	if err != nil {
		t.Fatal(err)
	}
	x := index(t, c)
	if _, ok := x.Reply(chat.Chain(c.Conversations[0].Messages[:3])); !ok {
		t.Error("the clean cassette does not replay")
	}
	b.Add("one", messages, nil)
	if _, err := b.Cassette(); !fault.Is(err, fault.Invalid) {
		t.Errorf("an id twice: %v", err)
	}
}
