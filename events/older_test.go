package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/events"
)

// A kind in its third version: v1 named one colour, v2 lists them, v3 counts the length in millimetres.
type (
	paintedV1 struct {
		Colour string `json:"colour"`
		Metres int    `json:"metres"`
	}
	paintedV2 struct {
		Colours []string `json:"colours"`
		Metres  int      `json:"metres"`
	}
	painted struct {
		Colours []string `json:"colours"`
		Mm      int      `json:"mm"`
		Note    string   `json:"note,omitempty"`
	}
)

func (paintedV1) Kind() string       { return "wall.painted" }
func (paintedV1) SchemaVersion() int { return 1 }
func (paintedV2) Kind() string       { return "wall.painted" }
func (paintedV2) SchemaVersion() int { return 2 }
func (painted) Kind() string         { return "wall.painted" }
func (painted) SchemaVersion() int   { return 3 }

func listColours(fields map[string]json.RawMessage) error {
	colour, ok := fields["colour"]
	if !ok {
		return errors.New("there is no colour")
	}
	fields["colours"] = fmt.Appendf(nil, "[%s]", colour)
	delete(fields, "colour")
	return nil
}

func toMillimetres(fields map[string]json.RawMessage) error {
	var m int
	if err := json.Unmarshal(fields["metres"], &m); err != nil {
		return err
	}
	fields["mm"] = fmt.Appendf(nil, "%d", m*1000)
	delete(fields, "metres")
	return nil
}

func paintedTypes() []events.Type {
	return []events.Type{
		events.TypeOf("", painted{[]string{"red"}, 2000, "n"}),
		events.Older(events.TypeOf("", paintedV1{"red", 2}), events.Fields(listColours)),
		events.Older(events.TypeOf("", paintedV2{[]string{"red"}, 2}), events.Fields(toMillimetres)),
	}
}

func TestOlderVersionsAreReadAsTheNewest(t *testing.T) {
	t.Parallel()
	reg, err := events.NewRegistry(paintedTypes()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		version int
		data    string
		want    events.Event
		err     string
	}{
		{"newest", 3, `{"colours":["red"],"mm":2000,"note":"n"}`, painted{[]string{"red"}, 2000, "n"}, ""},
		{"one behind", 2, `{"colours":["red","blue"],"metres":2}`, painted{[]string{"red", "blue"}, 2000, ""}, ""},
		{"two behind", 1, `{"colour":"<&>","metres":3,"note":"kept"}`, painted{[]string{"<&>"}, 3000, "kept"}, ""},
		{"newer than this program", 4, `{}`, nil, "unknown event wall.painted v4"},
		{"an upcaster that fails", 1, `{"metres":3}`, nil, "read wall.painted v1 as v2: there is no colour"},
		{"no object", 1, `[]`, nil, "read wall.painted v1 as v2: the fact is no object"},
		{"null", 2, `null`, nil, "read wall.painted v2 as v3: the fact is null"},
	} {
		data := []byte(c.data)
		got, err := reg.Decode(events.Record{Kind: "wall.painted", SchemaVersion: c.version, Data: data})
		if (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: err = %v, want %q", c.name, err, c.err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if string(data) != c.data {
			t.Errorf("%s: the stored bytes were changed to %s", c.name, data)
		}
	}
}

func TestARegistryRefusesVersionsThatLeadNowhere(t *testing.T) {
	t.Parallel()
	types := paintedTypes()
	for name, some := range map[string][]events.Type{
		"a version is missing in between": {types[0], types[1]},
		"the newest is missing":           {types[1], types[2]},
		"an old one has no upcaster":      {types[0], types[1], events.TypeOf("", paintedV2{})},
		"twice":                           {types[0], types[0]},
	} {
		if _, err := events.NewRegistry(some...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
