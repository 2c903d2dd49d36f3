package events

import (
	"encoding/json"
	"errors"
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
	Data        json.RawMessage `json:"data"`             // null when it cannot be read
	Unread      string          `json:"unread,omitempty"` // why: "erased", "sealed", or what is wrong with it
}

// Document is the document of a record.
func (r *Registry) Document(rec Record) Document {
	data, unread := r.Show(rec)
	return Document{
		Position: rec.Position, ID: rec.ID, Tenant: rec.Tenant, Stream: rec.Stream, Version: rec.StreamVersion, Kind: rec.Kind,
		Schema: rec.SchemaVersion, Time: rec.Time, Correlation: rec.Correlation, Causation: rec.Causation, TraceParent: rec.TraceParent,
		Data: data, Unread: unread,
	}
}

// Show is a record's JSON, or why there is none to be shown.
func (r *Registry) Show(rec Record) (data json.RawMessage, unread string) {
	body, err := r.Body(rec)
	if _, erased := errors.AsType[*ErasedError](err); erased {
		return nil, "erased"
	}
	if _, sealed := errors.AsType[*SealedError](err); sealed {
		return nil, "sealed"
	}
	if err != nil {
		return nil, err.Error()
	}
	if !json.Valid(body) {
		return nil, "not JSON"
	}
	return body, ""
}

// Record is the record of a document.
func (d Document) Record() Record {
	return Record{
		Position: d.Position, ID: d.ID, Tenant: d.Tenant, Stream: d.Stream, StreamVersion: d.Version, Kind: d.Kind,
		SchemaVersion: d.Schema, Time: d.Time, Correlation: d.Correlation, Causation: d.Causation, TraceParent: d.TraceParent, Data: d.Data,
	}
}
