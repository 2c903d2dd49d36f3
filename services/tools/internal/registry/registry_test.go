package registry_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/tools/internal/registry"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
)

func write(t *testing.T, dir, name, schema string) {
	t.Helper()
	c := cassette.Cassette{
		Header: cassette.Header{Name: name, Origin: cassette.OriginScript, Tools: []chat.ToolSpec{
			{Name: "calculator", Description: "d", Parameters: json.RawMessage(schema)},
			{Name: "lookup", Description: "d", Parameters: json.RawMessage(`{"type":"object"}`)},
		}},
		Conversations: []cassette.Conversation{{ID: "1", Messages: []chat.Message{chat.Text(chat.User, "hi")}}},
	}
	f, err := os.Create(filepath.Join(dir, name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Write(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) *registry.Registry {
	t.Helper()
	r, err := registry.New(cassette.NewLibrary(dir), tool.Limits{Timeout: 90 * time.Second, OutputBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestResolve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "a", `{"type":"object","required":["x"]}`)
	write(t, dir, "bad", `{"type":"nonsense"}`)
	r := open(t, dir)
	all := []string{"calculator", "list_dir", "read_file", "search_text", "write_file"}
	for name, c := range map[string]struct{ names, want []string }{
		"none":            {nil, nil},
		"one":             {[]string{"read_file"}, []string{"read_file"}},
		"all built-ins":   {[]string{"builtin"}, all},
		"twice":           {[]string{"calculator", "builtin", "calculator"}, all},
		"cassette":        {[]string{"replay/a"}, []string{"calculator", "lookup"}},
		"unknown":         {[]string{"rm", "replay/none", "replay/../a", "replay/", "", "builtin/calculator"}, nil},
		"bad schema":      {[]string{"replay/bad", "calculator"}, []string{"calculator"}},
		"tool of another": {[]string{"lookup"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := slices.Sorted(maps.Keys(r.Resolve(c.names)))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for order, ordered := range map[string]bool{"replay/a": true, "calculator": false} {
		names := []string{order, "calculator", "replay/a"}
		if e := r.Resolve(names)["calculator"]; e.Ordered != ordered {
			t.Errorf("of %v the first did not count", names)
		}
	}
	if _, err := r.Replay("bad"); !fault.Is(err, fault.Invalid) {
		t.Errorf("Replay(bad) = %v, want Invalid", err)
	}
	if got := r.Resolve([]string{"calculator"})["calculator"].Layers; !cmp.Equal(got, []string{"json-schema", "time limit 1m30s", "output limit 1000B"}) {
		t.Errorf("layers %v", got)
	}
}

// A cassette written while the program runs is found, and one that changes is read again.
func TestChangedCassette(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir)
	if got := r.Resolve([]string{"replay/late"}); len(got) != 0 {
		t.Fatalf("resolved %v", got)
	}
	write(t, dir, "late", `{"type":"object","required":["x"]}`)
	if _, err := r.Resolve([]string{"replay/late"})["calculator"].Schema.Check(`{}`); !fault.Is(err, fault.Invalid) {
		t.Errorf("first schema: %v", err)
	}
	write(t, dir, "late", `{"type":"object","required":["another"]}`)
	if _, err := r.Resolve([]string{"replay/late"})["calculator"].Schema.Check(`{"another":1}`); err != nil {
		t.Errorf("second schema: %v", err)
	}
}

func TestSets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "b", `{ "type": "object" }`)
	write(t, dir, "a", `{"type":"object"}`)
	write(t, dir, "bad", `{"type":"nonsense"}`)
	if err := os.WriteFile(filepath.Join(dir, "broken.jsonl"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	sets, problems := open(t, dir).Sets()
	var names []string
	for _, s := range sets {
		names = append(names, s.Name)
		for _, x := range s.Tools {
			if x.Class == "" || !json.Valid(x.Spec.Parameters) {
				t.Errorf("%s: %+v", s.Name, x)
			}
		}
	}
	if diff := cmp.Diff([]string{"builtin", "replay/a", "replay/b"}, names); diff != "" {
		t.Error(diff)
	}
	if len(problems) != 2 {
		t.Errorf("problems: %v", problems)
	}
	if got := string(sets[2].Tools[0].Spec.Parameters); got != `{"type":"object"}` {
		t.Errorf("schema published as %s", got)
	}
}
