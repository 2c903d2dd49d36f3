package cassette_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func script(name string, convs ...[]chat.Message) *cassette.Cassette {
	c := &cassette.Cassette{Header: cassette.Header{
		Cassette: cassette.Version, Name: name, Source: "a test", Origin: cassette.OriginScript, Tools: []chat.ToolSpec{},
	}}
	for i, messages := range convs {
		c.Conversations = append(c.Conversations, cassette.Conversation{ID: fmt.Sprintf("c%d", i), Messages: messages})
	}
	return c
}

func call(id, name, args string) chat.ToolCall {
	return chat.ToolCall{ID: id, Type: "function", Function: chat.FunctionCall{Name: name, Arguments: args}}
}

// weather is a conversation with two tool calls in one reply, whose ids are the same.
func weather() []chat.Message {
	one, two := call("x", "weather", `{"city":"Bern"}`), call("x", "weather", `{"city":"Rome"}`)
	return []chat.Message{
		chat.Text(chat.System, "be brief"),
		chat.Text(chat.User, "weather in Bern and Rome?"),
		{Role: chat.Assistant, ToolCalls: []chat.ToolCall{one, two}},
		chat.Result(one, "rain"),
		chat.Result(two, "sun"),
		chat.Text(chat.Assistant, "rain and sun"),
		chat.Text(chat.User, "thanks, stop"),
	}
}

func index(t *testing.T, c *cassette.Cassette) *cassette.Index {
	t.Helper()
	x, err := cassette.NewIndex(c)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestReplayNeedsNoCursor(t *testing.T) {
	t.Parallel()
	x, messages := index(t, script("w", weather())), weather()
	replies, results := 0, 0
	for i, m := range messages {
		chain := chat.Chain(messages[:i])
		if got, ok := x.Reply(chain); ok {
			replies++
			if got.Hash() != m.Hash() {
				t.Errorf("reply after %d messages is %v", i, got)
			}
		}
		if got, ok := x.ToolResult(chain); ok {
			results++
			if got.Hash() != m.Hash() {
				t.Errorf("tool result after %d messages is %v", i, got)
			}
		}
		if x.Ended(chain) {
			t.Errorf("ended after %d messages", i)
		}
	}
	if replies != 2 || results != 2 || !x.Ended(chat.Chain(messages)) {
		t.Errorf("%d replies, %d results, ended %v", replies, results, x.Ended(chat.Chain(messages)))
	}
	if _, ok := x.Reply("unknown"); ok {
		t.Error("a reply to an unknown prefix")
	}
}

func TestAmbiguousPrefixIsRefusedByName(t *testing.T) {
	t.Parallel()
	other := weather()
	other[5] = chat.Text(chat.Assistant, "sun and rain")
	wrongTool := weather()
	wrongTool[4] = chat.Result(call("x", "weather", ""), "snow")
	for _, second := range [][]chat.Message{other, wrongTool} {
		_, err := cassette.NewIndex(script("w", weather(), second))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "c0") || !strings.Contains(err.Error(), "c1") {
			t.Errorf("got %v", err)
		}
	}
	user := weather()
	user[6] = chat.Text(chat.User, "and in Oslo?")
	if _, err := cassette.NewIndex(script("w", weather(), user, weather())); err != nil {
		t.Errorf("different users, same prefix: %v", err)
	}
}

func TestNearestNamesWhereMessagesLeaveTheRecording(t *testing.T) {
	t.Parallel()
	x := index(t, script("w", weather()))
	tests := []struct {
		name     string
		messages []chat.Message
		want     string
	}{
		{"first differs", []chat.Message{chat.Text(chat.System, "be long")}, `conversation c0, message 0 differs: recorded system "be brief", got system "be long"`},
		{"later differs", append(weather()[:6:6], chat.Text(chat.User, "no")), `conversation c0, message 6 differs: recorded user "thanks, stop", got user "no"`},
		{"too short", weather()[:6], `conversation c0, message 6 differs: recorded user "thanks, stop", got nothing more`},
		{"too long", append(weather(), chat.Text(chat.User, "more")), `conversation c0, message 7 differs: the recording ends there, got user "more"`},
		{"tool", weather()[:3:3], `conversation c0, message 3 differs: recorded tool weather [x] "rain", got nothing more`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, x.Nearest(tc.messages).String()); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := index(t, script("empty")).Nearest(weather()); got.Conversation != "" || got.String() == "" {
		t.Errorf("empty cassette: %+v", got)
	}
}

func TestWriteThenReadKeepsEverything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Ptr(rapid.String(), true)
		message := rapid.Custom(func(t *rapid.T) chat.Message {
			m := chat.Message{Role: rapid.SampledFrom([]string{chat.System, chat.User, chat.Assistant, chat.Tool}).Draw(t, "role"), Content: text.Draw(t, "content")}
			if m.Role == chat.Assistant && rapid.Bool().Draw(t, "calls") {
				m.ToolCalls = []chat.ToolCall{call(rapid.String().Draw(t, "id"), "f", rapid.String().Draw(t, "args"))}
				m.Reasoning = text.Draw(t, "reasoning")
			}
			return m
		})
		c := script("any", rapid.SliceOfN(message, 1, 5).Draw(t, "one"), rapid.SliceOfN(message, 1, 5).Draw(t, "two"))
		for name, write := range map[string]func(*bytes.Buffer) error{
			"plain": func(b *bytes.Buffer) error { return c.Write(b) },
			"gzip":  func(b *bytes.Buffer) error { return c.WriteGzip(b) },
		} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			back, err := cassette.Read(&b)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for i := range c.Conversations {
				if chat.Chain(c.Conversations[i].Messages) != chat.Chain(back.Conversations[i].Messages) {
					t.Fatalf("%s: conversation %d changed", name, i)
				}
			}
		}
	})
}

func TestReadNamesTheBadLine(t *testing.T) {
	t.Parallel()
	header := `{"cassette":1,"name":"x","source":"","license":"","model":"","origin":"script","tools":[]}` + "\n"
	conv := `{"id":"a","messages":[{"role":"user","content":"hi"}]}` + "\n"
	tests := []struct{ name, in, want string }{
		{"empty", "", "header is missing"},
		{"version", `{"cassette":2}`, "version 2"},
		{"name", strings.Replace(header, `"x"`, `"../x"`, 1), "not a cassette name"},
		{"origin", strings.Replace(header, "script", "dream", 1), "dream"},
		{"no header", conv, "line 1"},
		{"unknown field", header + conv + `{"id":"b","messages":[{"role":"user","content":"hi","mood":"good"}]}`, "line 3"},
		{"twice", header + conv + conv, "line 3"},
		{"no messages", header + `{"id":"a","messages":[]}`, "no messages"},
		{"two values", header + strings.TrimSpace(conv) + conv, "line 2"},
		{"cut gzip", "\x1f\x8b\x08", "gzip"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := cassette.Read(strings.NewReader(tc.in))
			if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestLibraryFindsCachesAndReloads(t *testing.T) {
	t.Parallel()
	one, two := t.TempDir(), t.TempDir()
	write := func(path string, c *cassette.Cassette) {
		t.Helper()
		var b bytes.Buffer
		if err := errors.Join(c.WriteGzip(&b), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(two, "w.jsonl.gz")
	write(path, script("w", weather()))
	lib := cassette.NewLibrary(filepath.Join(one, "missing"), one, two)
	first, err := lib.Get("w")
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := lib.Get("w"); again != first {
		t.Error("an unchanged file was read again")
	}
	write(path, script("w", weather()[:3]))
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if changed, err := lib.Get("w"); err != nil || changed == first {
		t.Errorf("a changed file was not read again: %v", err)
	}
	write(filepath.Join(one, "answers.jsonl"), script("other", weather()))
	for range 2 {
		if x, err := lib.Get("other"); err != nil || x.Cassette().Header.Name != "other" {
			t.Errorf("by the name in the header: %v", err)
		}
	}
	if err := os.Remove(filepath.Join(one, "answers.jsonl")); err != nil {
		t.Fatal(err)
	}
	if _, err := lib.Get("other"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a file that is gone: %v", err)
	}
	if err := os.WriteFile(filepath.Join(one, "broken.jsonl"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	entries := lib.List()
	if len(entries) != 2 || entries[0].Name != "broken" || entries[0].Err == nil || entries[1].Name != "w" || entries[1].Err != nil {
		t.Errorf("listed %+v", entries)
	}
	for name, kind := range map[string]fault.Kind{
		"nothing": fault.NotFound, "../w": fault.Invalid, "": fault.Invalid, ".hidden": fault.Invalid,
		`a\b`: fault.Invalid, "a\x00": fault.Invalid, "broken": fault.Invalid,
	} {
		if _, err := lib.Get(name); !fault.Is(err, kind) {
			t.Errorf("Get(%q) is %v, want %v", name, err, kind)
		}
	}
}

func TestFromTauBenchLosesNothing(t *testing.T) {
	t.Parallel()
	convs, err := cassette.FromTauBench(strings.NewReader(
		`[{"task_id":3,"trial":1,"reward":1.0,"info":{},"traj":[{"role":"user","content":"hi"},{"content":null,"role":"assistant"}]}]`))
	if err != nil {
		t.Fatal(err)
	}
	if got := convs[0]; got.ID != "task-3-trial-1" || len(got.Messages) != 2 || got.Messages[1].Content != nil || got.Meta["reward"] != 1.0 {
		t.Errorf("got %+v", got)
	}
	if _, err := cassette.FromTauBench(strings.NewReader(`[{"traj":[{"role":"user","content":"hi","image":"x"}]}]`)); !fault.Is(err, fault.Invalid) {
		t.Errorf("an unknown field: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	if err := script("w", weather()).Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := cassette.Read(bytes.NewReader(data))
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("kind %v: %v", fault.KindOf(err), err)
			}
			return
		}
		if _, err := cassette.NewIndex(c); err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("index: %v", err)
		}
	})
}

func ExampleIndex() {
	ask := []chat.Message{chat.Text(chat.User, "2 + 2?")}
	recorded := []chat.Message{ask[0], chat.Text(chat.Assistant, "4")}
	x, err := cassette.NewIndex(script("sums", recorded))
	if err != nil {
		fmt.Println(err)
		return
	}
	reply, _ := x.Reply(chat.Chain(ask))
	fmt.Println(reply.String(), x.Ended(chat.Chain(recorded)))
	fmt.Println(x.Nearest([]chat.Message{chat.Text(chat.User, "3 + 3?")}))
	// Output:
	// 4 true
	// conversation c0, message 0 differs: recorded user "2 + 2?", got user "3 + 3?"
}
