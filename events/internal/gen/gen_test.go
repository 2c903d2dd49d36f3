package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/agentos-kernel/agentos/events/catalog"
)

// The files in the repository are what the generator writes today.
func TestGeneratedFilesAreFresh(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	types := catalog.Types()
	d, err := readDocs(root)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"events/CATALOG.md": catalogue(types, d), "events/asyncapi.yaml": asyncAPI(types)}
	for _, typ := range types {
		if want["events/schemas/"+schemaFile(typ)], err = schemaJSON(typ, d); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range want {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, data) {
			t.Errorf("%s is stale: run `go generate ./events/catalog`", name)
		}
	}
}

// Only fields may be added to a released shape.
func TestLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ before, now, want string }{
		{`{"a":1}`, `{"a":1}`, ""},
		{`{"a":1}`, `{"a":1,"b":2}`, ""},
		{`{"a":[{"b":1}]}`, `{"a":[{"b":1,"c":null}]}`, ""},
		{`{"a":1,"b":2}`, `{"a":1}`, "k.b"},
		{`{"a":1}`, `{"a":2}`, "k.a"},
		{`{"a":1}`, `{"a":"1"}`, "k.a"},
		{`{"a":{"b":1}}`, `{"a":[]}`, "k.a"},
		{`{"a":[1,2]}`, `{"a":[1]}`, "k.a"},
		{`{"a":[1,2]}`, `{"a":[1,3]}`, "k.a[1]"},
		{`{"a":null}`, `{"a":null}`, ""},
	} {
		var before, now any
		if err := json.Unmarshal([]byte(c.before), &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(c.now), &now); err != nil {
			t.Fatal(err)
		}
		if got := lost(before, now, "k"); got != c.want {
			t.Errorf("%s to %s: %q, want %q", c.before, c.now, got, c.want)
		}
	}
}

// A golden is written once, grows by optional fields, and is never changed.
func TestWriteGoldens(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	types := catalog.Types()[:2]
	if err := writeGoldens(root, types, false); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(root, "events", "agent", "testdata", "agent.spawned.v1.json")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	older := bytes.Replace(whole, []byte(`,"priority":50`), nil, 1)
	rewrite := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o600); err != nil { //nolint:gosec // a file of the test
			t.Fatal(err)
		}
	}
	rewrite(older)
	if err := writeGoldens(root, types, false); err == nil {
		t.Error("a golden that differs from its checksum is accepted")
	}
	if err := os.Remove(filepath.Join(root, sumsFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(name), "agent.spawned.v1-2.json")); err != nil {
		t.Fatal(err)
	}
	if err := writeGoldens(root, types, false); err != nil {
		t.Fatal(err)
	}
	if next, err := os.ReadFile(filepath.Join(filepath.Dir(name), "agent.spawned.v1-2.json")); err != nil || !bytes.Equal(next, whole) {
		t.Errorf("the grown shape is not kept beside the old one: %v", err)
	}
	kept, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(kept, older) {
		t.Errorf("the old golden was changed: %v", err)
	}
}
