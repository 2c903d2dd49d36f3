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
	line, err := events.Encode(events.DocumentOf(want))
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
	if got := string(events.DocumentOf(events.Record{Data: []byte("{")}).Data); got != `"not JSON"` {
		t.Errorf("data that is no JSON became %s", got)
	}
}
