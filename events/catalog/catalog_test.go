package catalog_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/catalog"
)

// Every schema compiles as draft 2020-12 and accepts the golden of its type; the zero value of the type,
// with its nulls, is accepted as well.
func TestSchemasAcceptTheirTypes(t *testing.T) {
	t.Parallel()
	for _, typ := range catalog.Types() {
		name := fmt.Sprintf("%s.v%d.json", typ.Kind, typ.Version)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "schemas", name))
			if err != nil {
				t.Fatal(err)
			}
			golden, err := os.ReadFile(filepath.Join("..", string(events.FamilyOf(typ.Kind)), "testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			zero, err := typ.Decode([]byte("{}"))
			if err != nil {
				t.Fatal(err)
			}
			zeroJSON, err := events.Encode(zero)
			if err != nil {
				t.Fatal(err)
			}
			for _, data := range [][]byte{golden, zeroJSON} {
				doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
				if err := schema.Validate(doc); err != nil {
					t.Errorf("%s: %v", data, err)
				}
			}
			if err := schema.Validate(map[string]any{}); err == nil {
				t.Error("the schema accepts an empty object: it checks nothing")
			}
		})
	}
}

func TestDecodeUnknown(t *testing.T) {
	t.Parallel()
	reg, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	_, err = reg.Decode(events.Record{Kind: "agent.spawned", SchemaVersion: 99, Data: []byte("{}")})
	var unknown *events.UnknownKindError
	if !errors.As(err, &unknown) {
		t.Fatalf("got %v, want UnknownKindError", err)
	}
	if diff := cmp.Diff(&events.UnknownKindError{Kind: "agent.spawned", Version: 99}, unknown); diff != "" {
		t.Error(diff)
	}
}

// FuzzDecode: no bytes make Decode panic, and what it accepts survives being written and read again.
func FuzzDecode(f *testing.F) {
	reg, err := catalog.New()
	if err != nil {
		f.Fatal(err)
	}
	for _, typ := range catalog.Types() {
		data, err := events.Encode(typ.Example)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(typ.Kind, typ.Version, data)
	}
	f.Fuzz(func(t *testing.T, kind string, version int, data []byte) {
		rec := events.Record{Kind: kind, SchemaVersion: version, Data: data}
		first, err := reg.Decode(rec)
		if err != nil {
			return
		}
		if first.Kind() != kind || first.SchemaVersion() < version {
			t.Fatalf("decoded %s v%d as %s v%d", kind, version, first.Kind(), first.SchemaVersion())
		}
		once, err := events.Encode(first)
		if err != nil {
			return // a number or time JSON can read and not write
		}
		rec.SchemaVersion, rec.Data = first.SchemaVersion(), once
		second, err := reg.Decode(rec)
		if err != nil {
			t.Fatalf("own output is refused: %v", err)
		}
		twice, err := events.Encode(second)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(once, twice) {
			t.Fatalf("not stable:\n%s\n%s", once, twice)
		}
	})
}

func TestTwoTypesOfOneName(t *testing.T) {
	t.Parallel()
	types := catalog.Types()
	if _, err := events.NewRegistry(append(types, types[0])...); err == nil {
		t.Error("a kind registered twice is accepted")
	}
}
