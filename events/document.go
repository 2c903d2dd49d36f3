package events

import (
	"encoding/json"
	"time"
)

// Document is a record as a line of JSON: what `agentos events tail --json` prints, and what recorded
// histories are made of.
type Document struct {
	Position    int64           `json:"position"`
	ID          string          `json:"id"`
	Tenant      string          `json:"tenant"`
	Stream      string          `json:"stream"`
	Version     int64           `json:"version"`
	Kind        string          `json:"kind"`
	Schema      int             `json:"schema"`
	Time        time.Time       `json:"time"`
	Correlation string          `json:"correlation,omitempty"`
	Causation   string          `json:"causation,omitempty"`
	TraceParent string          `json:"traceparent,omitempty"`
	Data        json.RawMessage `json:"data"`
}

// DocumentOf is the document of a record. Data that is no JSON, which no writer of ours makes, is said so.
func DocumentOf(r Record) Document {
	data := json.RawMessage(r.Data)
	if !json.Valid(data) {
		data = json.RawMessage(`"not JSON"`)
	}
	return Document{
		Position: r.Position, ID: r.ID, Tenant: r.Tenant, Stream: r.Stream, Version: r.StreamVersion, Kind: r.Kind,
		Schema: r.SchemaVersion, Time: r.Time, Correlation: r.Correlation, Causation: r.Causation, TraceParent: r.TraceParent, Data: data,
	}
}

// Record is the record of a document.
func (d Document) Record() Record {
	return Record{
		Position: d.Position, ID: d.ID, Tenant: d.Tenant, Stream: d.Stream, StreamVersion: d.Version, Kind: d.Kind,
		SchemaVersion: d.Schema, Time: d.Time, Correlation: d.Correlation, Causation: d.Causation, TraceParent: d.TraceParent, Data: d.Data,
	}
}
