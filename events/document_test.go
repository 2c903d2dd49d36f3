package events_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/events"
)

// A record comes back from its line with every field, and its data with every byte.
func TestDocument(t *testing.T) {
	t.Parallel()
	want := events.Record{
		Position: 7, ID: "id", Tenant: "t", Stream: "agent/p", StreamVersion: 3, Kind: "agent.spawned", SchemaVersion: 2,
		Time: time.Date(2026, 11, 27, 12, 0, 0, 123_456_000, time.UTC), Correlation: "c", Causation: "b", TraceParent: "tp",
		Data: []byte(`{"task":"<&> ü","n":1.0}`),
	}
	reg, err := events.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	line, err := events.Encode(reg.Document(want))
	if err != nil {
		t.Fatal(err)
	}
	var d events.Document
	if err := json.Unmarshal(line, &d); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, d.Record()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for why, data := range map[string]string{"not JSON": "{", "sealed": events.SealMark + "…"} {
		if d := reg.Document(events.Record{Data: []byte(data)}); d.Data != nil || d.Unread != why {
			t.Errorf("%q became %s, %q", data, d.Data, d.Unread)
		}
	}
	gone := reg.Opening(func(r events.Record) ([]byte, error) { return nil, &events.ErasedError{Tenant: r.Tenant} })
	if d := gone.Document(events.Record{Data: []byte(events.SealMark)}); d.Data != nil || d.Unread != "erased" {
		t.Errorf("an erased body became %s, %q", d.Data, d.Unread)
	}
}
