// Package events is the contract between the services: the envelope every fact travels in and the
// families of facts. It depends on the standard library only.
//
// A family is one package below this one. Its facts are structs with a stable kind ("agent.spawned")
// and an integer schema version; they are kept, sent and hashed as the bytes they were written as.
package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// DefaultTenant is the tenant of an installation that has made no other.
const DefaultTenant = "default"

// Event is one fact: a struct of a family package.
type Event interface {
	// Kind is the wire name, "family.fact"; it never changes once released.
	Kind() string
	// SchemaVersion counts from 1 and grows with every change that is not an optional field.
	SchemaVersion() int
}

// Timed is an event that ends something and tells how long it took.
type Timed interface {
	Event
	Took() time.Duration
}

// Record is a fact as it is stored and sent: envelope and original bytes.
type Record struct {
	Position      int64     // place in the event store, over all streams; grows, with holes
	ID            string    // UUIDv7
	Tenant        string    // who owns the stream
	Stream        string    // "agent/<pid>": the owning service's name for its subject
	StreamVersion int64     // place in the stream, from 1, without holes
	Kind          string    // "agent.spawned"
	SchemaVersion int       // version of the kind's JSON
	Time          time.Time // the writer's clock, UTC, microseconds
	Correlation   string    // id of the request or event that began the whole conversation
	Causation     string    // id of the event or command that led to this one
	TraceParent   string    // W3C trace context; may be empty
	Data          []byte    // the fact's JSON, as written
}

// Subject is what the record is about: the pid for most families.
func (r Record) Subject() string { return SubjectOf(r.Stream) }

// Family is the family of the record's kind.
func (r Record) Family() Family { return FamilyOf(r.Kind) }

// SubjectOf is the part of a stream's name behind the slash.
func SubjectOf(stream string) string {
	_, subject, _ := strings.Cut(stream, "/")
	return subject
}

// Family is a group of facts with one owner and one topic.
type Family string

// The families, named as the first part of their kinds.
const (
	Agent    Family = "agent"
	Context  Family = "context"
	LLM      Family = "llm"
	Tool     Family = "tool"
	Audit    Family = "audit"
	Learning Family = "learning"
)

// Families lists all families in a fixed order.
func Families() []Family { return []Family{Agent, Context, LLM, Tool, Audit, Learning} }

// FamilyOf is the family of a kind.
func FamilyOf(kind string) Family {
	family, _, _ := strings.Cut(kind, ".")
	return Family(family)
}

// Topic is the Kafka topic that carries the family.
func (f Family) Topic() string { return "agentos." + string(f) }

// DeltasTopic carries model output token by token. It is not part of the event store.
const DeltasTopic = "agentos.llm.deltas"

// Stream is the name of the family's stream about a subject.
func (f Family) Stream(subject string) string { return string(f) + "/" + subject }

// Type describes one version of one kind.
type Type struct {
	Kind    string
	Version int
	Doc     string // one line for the catalogue
	Decode  func([]byte) (Event, error)
	Example Event    // golden file and schema are made from it
	Upcast  Upcaster // of a version nobody writes any more, see [Older]; nil for the newest
}

// TypeOf describes the kind of T for a family's Types list; example must set every field.
func TypeOf[T Event](doc string, example T) Type {
	return Type{
		Kind: example.Kind(), Version: example.SchemaVersion(), Doc: doc, Example: example,
		Decode: func(data []byte) (Event, error) {
			var e T
			if err := json.Unmarshal(data, &e); err != nil {
				return nil, fmt.Errorf("decode %s v%d: %w", example.Kind(), example.SchemaVersion(), err)
			}
			return e, nil
		},
	}
}

// Encode writes a fact as JSON without HTML escapes and without a trailing newline, so that strings
// that came from a model or a tool keep their bytes.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// UnknownKindError says that a registry does not know a kind or its version.
type UnknownKindError struct {
	Kind    string
	Version int
}

func (e *UnknownKindError) Error() string {
	return fmt.Sprintf("unknown event %s v%d: this program is older than its writer", e.Kind, e.Version)
}

// Registry decodes records. It is immutable after New.
type Registry struct {
	types map[typeKey]Type
	open  Opener // nil: sealed bodies stay so
}

type typeKey struct {
	kind    string
	version int
}

// NewRegistry holds the given types. Two types with the same kind and version are an error, and so is a
// version whose [Upcaster] leads nowhere, or one without that is not its kind's newest.
func NewRegistry(types ...Type) (*Registry, error) {
	r := &Registry{types: make(map[typeKey]Type, len(types))}
	for _, t := range types {
		key := typeKey{t.Kind, t.Version}
		if _, dup := r.types[key]; dup {
			return nil, fmt.Errorf("event type %s.v%d is registered twice", t.Kind, t.Version)
		}
		r.types[key] = t
	}
	for key, t := range r.types {
		_, newer := r.types[typeKey{key.kind, key.version + 1}]
		if newer != (t.Upcast != nil) {
			return nil, fmt.Errorf("event type %s.v%d: each version but the newest has an upcaster to the next one", key.kind, key.version)
		}
	}
	return r, nil
}

// Knows reports whether some version of the kind is known.
func (r *Registry) Knows(kind string) bool {
	_, ok := r.types[typeKey{kind, 1}]
	return ok
}

// Decode turns a record into its fact, in the newest version this program knows. An unknown kind or
// version is *UnknownKindError; see also Body.
func (r *Registry) Decode(rec Record) (Event, error) {
	t, ok := r.types[typeKey{rec.Kind, rec.SchemaVersion}]
	if !ok {
		return nil, &UnknownKindError{Kind: rec.Kind, Version: rec.SchemaVersion}
	}
	data, err := r.Body(rec)
	if err != nil {
		return nil, err
	}
	for t.Upcast != nil {
		if data, err = t.Upcast(data); err != nil {
			return nil, fmt.Errorf("read %s v%d as v%d: %w", t.Kind, t.Version, t.Version+1, err)
		}
		t = r.types[typeKey{t.Kind, t.Version + 1}]
	}
	return t.Decode(data)
}
