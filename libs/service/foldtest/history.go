package foldtest

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/eventstore/eventstoretest"
	"github.com/agentos-kernel/agentos/libs/service"
)

// histories are recorded runs, as `agentos events tail --json` printed them: all facts of a process that
// completed, of a conversation that was killed in mid-answer, and of one that failed. Like the goldens of
// the facts they never change: what a kernel has stored, every later one must be able to fold.
//
//go:embed histories/*.jsonl.gz
var histories embed.FS

// Histories are the recorded runs by name, each in the order of positions.
func Histories(t *testing.T) map[string][]events.Record {
	t.Helper()
	files, err := histories.ReadDir("histories")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]events.Record{}
	for _, f := range files {
		raw, err := histories.ReadFile("histories/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		recs, err := readHistory(raw)
		if err != nil {
			t.Fatalf("%s: %v", f.Name(), err)
		}
		out[f.Name()[:len(f.Name())-len(".jsonl.gz")]] = recs
	}
	return out
}

func readHistory(raw []byte) ([]events.Record, error) {
	lines, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	var recs []events.Record
	for dec := json.NewDecoder(lines); ; {
		var d events.Document
		err := dec.Decode(&d)
		if errors.Is(err, io.EOF) {
			return recs, nil
		}
		if err != nil {
			return nil, err
		}
		recs = append(recs, d.Record())
	}
}

// folded is a stream of a history and what its fold makes of it.
type folded struct {
	Stream  string          `json:"stream"`
	Version int64           `json:"version"`
	State   json.RawMessage `json:"state"`
}

// Replay folds the streams of the fold's family in every recorded run and compares the states with
// testdata/history.<run>.json, which may change with the state and never with the history. A file that is
// missing is written.
func Replay[S any](t *testing.T, f service.Fold[S]) {
	t.Helper()
	reg, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	for name, recs := range Histories(t) {
		store, streams := load(t, recs, f.Family)
		if len(streams) == 0 {
			continue // a run the service had no part in
		}
		t.Run("history "+name, func(t *testing.T) {
			t.Parallel()
			var states []folded
			for _, stream := range streams {
				states = append(states, replay(t, f, reg, store, stream))
			}
			Golden(t, name, states)
		})
	}
}

func replay[S any](t *testing.T, f service.Fold[S], reg *events.Registry, store *eventstoretest.Memory, stream string) folded {
	t.Helper()
	recs, err := store.ReadStream(t.Context(), events.DefaultTenant, stream, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var s S
	for _, r := range recs {
		e, err := reg.Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		s = f.Evolve(s, e)
	}
	state, err := f.Bytes(s)
	if err != nil {
		t.Fatal(err)
	}
	return folded{stream, int64(len(recs)), state}
}

// Golden compares a value, as JSON, with testdata/history.<run>.json.
func Golden(t *testing.T, run string, v any) {
	t.Helper()
	raw, err := events.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, raw, "", " "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	name := filepath.Join("testdata", "history."+run+".json")
	want, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(name, got.Bytes(), 0o644)); err != nil { //nolint:gosec // sources
			t.Fatal(err)
		}
		t.Fatalf("%s was missing and has been written: look at it and run the test again", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the run %s folds to another state than before; remove %s if that is meant (-was +is):\n%s", run, name, diff)
	}
}

// load puts a history into a store of its own and names the streams of a family, in the order they began.
// A history with a hole is refused by the store.
func load(t *testing.T, recs []events.Record, family events.Family) (*eventstoretest.Memory, []string) {
	t.Helper()
	var store eventstoretest.Memory
	var streams []string
	for _, r := range recs {
		err := store.Append(t.Context(), eventstore.Append{
			Tenant: r.Tenant, Stream: r.Stream, Expected: r.StreamVersion - 1, Records: []events.Record{r},
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Family() == family && r.StreamVersion == 1 {
			streams = append(streams, r.Stream)
		}
	}
	return &store, streams
}
