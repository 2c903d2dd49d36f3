// Package foldtest holds a service's fold to what snapshots rest on.
package foldtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/libs/service"
)

// Run checks a fold on drawn histories of one stream: at every cut a snapshot and the tail after it give
// the state of a replay from the start, the same bytes included, whether the facts come from memory or
// from the store. And it holds the fold to testdata/snapshot.v<Codec>.json, a history with its state: a
// fold that makes other bytes of it needs another Codec. A file that is missing is written.
func Run[S any](t *testing.T, f service.Fold[S], draw func(*rapid.T) []events.Event) {
	t.Helper()
	reg, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	c := checker[S]{fold: f, decode: reg.Decode}
	t.Run("snapshot and tail", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			if err := c.cuts(draw(t)); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("codec", func(t *testing.T) {
		t.Parallel()
		if err := c.golden(rapid.Custom(draw)); err != nil {
			t.Fatal(err)
		}
	})
}

type checker[S any] struct {
	fold   service.Fold[S]
	decode service.Decoder
}

// fact is an event as the store has it.
type fact struct {
	Kind    string          `json:"kind"`
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"`
}

func store(e events.Event) (fact, error) {
	data, err := events.Encode(e)
	return fact{e.Kind(), e.SchemaVersion(), data}, err
}

func (c checker[S]) load(f fact) (events.Event, error) {
	return c.decode(events.Record{Kind: f.Kind, SchemaVersion: f.Version, Data: f.Data})
}

func (c checker[S]) cuts(live []events.Event) error {
	stored := make([]events.Event, len(live))
	for i, e := range live {
		f, err := store(e)
		if err == nil {
			stored[i], err = c.load(f)
		}
		if err != nil {
			return err
		}
	}
	whole, err := c.bytes(stored)
	if err != nil {
		return err
	}
	for cut := range len(live) + 1 {
		snapshot, err := c.bytes(stored[:cut])
		if err != nil {
			return err
		}
		if fromMemory, err := c.bytes(live[:cut]); err != nil || !bytes.Equal(snapshot, fromMemory) {
			return fmt.Errorf("after %d events: the state folded from memory is %s, from the store %s (%w)", cut, fromMemory, snapshot, err)
		}
		s, err := c.state(snapshot)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(c.replay(stored[:cut]), s, cmpopts.EquateEmpty(), everything()); diff != "" {
			return fmt.Errorf("after %d events: the snapshot is not the state: %s", cut, diff)
		}
		for _, e := range stored[cut:] {
			s = c.fold.Evolve(s, e)
		}
		got, err := c.fold.Bytes(s)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, whole) {
			return fmt.Errorf("a snapshot after %d of %d events and the tail give %s, a replay gives %s", cut, len(live), got, whole)
		}
	}
	return nil
}

// everything lets cmp look into fields that are not exported: a snapshot must keep them too.
func everything() cmp.Option { return cmp.Exporter(func(reflect.Type) bool { return true }) }

func (c checker[S]) replay(evs []events.Event) (s S) {
	for _, e := range evs {
		s = c.fold.Evolve(s, e)
	}
	return s
}

func (c checker[S]) bytes(evs []events.Event) ([]byte, error) { return c.fold.Bytes(c.replay(evs)) }

func (c checker[S]) state(b []byte) (s S, err error) {
	if c.fold.Decode != nil {
		return c.fold.Decode(b)
	}
	return s, json.Unmarshal(b, &s)
}

// recorded is a golden file.
type recorded struct {
	History []fact          `json:"history"`
	State   json.RawMessage `json:"state"`
}

// goldenEvents is how long the history of a golden file is at least.
const goldenEvents = 12

func (c checker[S]) golden(histories *rapid.Generator[[]events.Event]) error {
	name := filepath.Join("testdata", fmt.Sprintf("snapshot.v%d.json", c.fold.Codec))
	raw, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return c.write(name, histories)
	}
	if err != nil {
		return err
	}
	var g recorded
	if err := json.Unmarshal(raw, &g); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	evs := make([]events.Event, len(g.History))
	for i, f := range g.History {
		if evs[i], err = c.load(f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	got, err := c.bytes(evs)
	if err != nil {
		return err
	}
	if want := compact(g.State); !bytes.Equal(got, want) {
		return fmt.Errorf("%s was folded to other bytes with this Codec: raise the Codec, or snapshots of before are taken for the new state\n was %s\n now %s",
			name, want, got)
	}
	return nil
}

// write makes the golden file and fails, so that somebody looks at it.
func (c checker[S]) write(name string, histories *rapid.Generator[[]events.Event]) error {
	var g recorded
	for seed := 0; len(g.History) < goldenEvents; seed++ {
		evs := histories.Example(seed)
		g.History = g.History[:0]
		for _, e := range evs {
			f, err := store(e)
			if err != nil {
				return err
			}
			g.History = append(g.History, f)
		}
		state, err := c.bytes(evs)
		if err != nil {
			return err
		}
		g.State = state
	}
	raw, err := events.Encode(g)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", " "); err != nil {
		return err
	}
	b.WriteByte('\n')
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // a source folder
		return err
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil { //nolint:gosec // a source file
		return err
	}
	return fmt.Errorf("%s was missing and has been written: look at it and run the test again", name)
}

func compact(raw json.RawMessage) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return raw
	}
	return b.Bytes()
}
