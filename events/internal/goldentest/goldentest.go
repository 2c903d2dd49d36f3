// Package goldentest holds the test every family of events must pass: each fact is written as it was
// when it was released.
package goldentest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/internal/golden"
)

// Run checks the family's types against the golden files in the test's own testdata folder.
func Run(t *testing.T, family events.Family, types []events.Type) {
	t.Helper()
	reg, err := events.NewRegistry(types...)
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range types {
		t.Run(fmt.Sprintf("%s.v%d", typ.Kind, typ.Version), func(t *testing.T) {
			t.Parallel()
			if got := events.FamilyOf(typ.Kind); got != family {
				t.Errorf("kind %s is of family %s, listed under %s", typ.Kind, got, family)
			}
			if typ.Doc == "" {
				t.Error("no doc line")
			}
			if zero := firstZero(reflect.ValueOf(typ.Example), typ.Kind); zero != "" {
				t.Errorf("the example leaves %s at its zero value", zero)
			}
			check(t, typ, reg)
		})
	}
}

// check compares the newest golden byte by byte and decodes the older ones, which may lack fields that
// were added later. Each is read by the registry as well, as the newest version of its kind.
func check(t *testing.T, typ events.Type, reg *events.Registry) {
	t.Helper()
	encoded, err := events.Encode(typ.Example)
	if err != nil {
		t.Fatal(err)
	}
	var newest []byte
	for n := 1; ; n++ {
		data, err := os.ReadFile(filepath.Join("testdata", golden.FileName(typ, n)))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		newest = data
		if _, err := typ.Decode(data); err != nil {
			t.Errorf("golden %d does not decode: %v", n, err)
		}
		if _, err := reg.Decode(events.Record{Kind: typ.Kind, SchemaVersion: typ.Version, Data: data}); err != nil {
			t.Errorf("golden %d cannot be read: %v", n, err)
		}
	}
	if newest == nil {
		t.Fatalf("no golden file %s; run `go generate ./events/catalog`", golden.FileName(typ, 1))
	}
	if !bytes.Equal(encoded, newest) {
		t.Errorf("encoded example differs from its golden\n got %s\nwant %s", encoded, newest)
	}
	decoded, err := typ.Decode(newest)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(decoded, typ.Example) {
		t.Errorf("decoded golden differs from the example\n got %+v\nwant %+v", decoded, typ.Example)
	}
}

// firstZero names the first field below v that has its zero value, or "".
func firstZero(v reflect.Value, path string) string {
	if v.IsZero() {
		return path
	}
	switch v.Kind() { //nolint:exhaustive // the others hold nothing below them
	case reflect.Pointer:
		return firstZero(v.Elem(), path)
	case reflect.Struct:
		if v.Type().PkgPath() == "time" {
			return ""
		}
		for i := range v.NumField() {
			if zero := firstZero(v.Field(i), path+"."+v.Type().Field(i).Name); zero != "" {
				return zero
			}
		}
	case reflect.Slice:
		if v.Len() == 0 {
			return path
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return ""
		}
		for i := range v.Len() {
			if zero := firstZero(v.Index(i), fmt.Sprintf("%s[%d]", path, i)); zero != "" {
				return zero
			}
		}
	}
	return ""
}
