package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/agentos-kernel/agentos/events"
)

// schema is the part of JSON Schema 2020-12 the event types need. Fields a reader does not know are
// allowed: a later writer may add them.
type schema struct {
	Schema      string             `json:"$schema,omitempty"`
	ID          string             `json:"$id,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Ref         string             `json:"$ref,omitempty"`
	Type        any                `json:"type,omitempty"`
	Format      string             `json:"format,omitempty"`
	AnyOf       []*schema          `json:"anyOf,omitempty"` //nolint:tagliatelle // JSON Schema's name
	Items       *schema            `json:"items,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Properties  *properties        `json:"properties,omitempty"`
	Defs        map[string]*schema `json:"$defs,omitempty"`
}

// properties keeps the order of the Go fields.
type properties struct {
	names   []string
	schemas []*schema
}

// MarshalJSON writes the properties as an object in their own order.
func (p *properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range p.names {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := events.Encode(p.schemas[i])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// writeSchemas writes one schema per type and removes those of types that are gone.
func writeSchemas(root string, types []events.Type, d docs) error {
	old, err := filepath.Glob(filepath.Join(root, "events", "schemas", "*.json"))
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, t := range types {
		data, err := schemaJSON(t, d)
		if err != nil {
			return err
		}
		keep[schemaFile(t)] = true
		if err := write(root, "events/schemas/"+schemaFile(t), data); err != nil {
			return err
		}
	}
	for _, file := range old {
		if !keep[filepath.Base(file)] {
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	return nil
}

func schemaJSON(t events.Type, d docs) ([]byte, error) {
	data, err := events.Encode(schemaOf(t, d))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func schemaFile(t events.Type) string { return fmt.Sprintf("%s.v%d.json", t.Kind, t.Version) }

func schemaOf(t events.Type, d docs) *schema {
	r := reflector{docs: d, defs: map[string]*schema{}}
	s := r.object(reflect.TypeOf(t.Example))
	s.Schema = "https://json-schema.org/draft/2020-12/schema"
	s.ID = fmt.Sprintf("urn:agentos:event:%s:v%d", t.Kind, t.Version)
	s.Title = fmt.Sprintf("%s v%d", t.Kind, t.Version)
	s.Description = t.Doc
	if len(r.defs) > 0 {
		s.Defs = r.defs
	}
	return s
}

type reflector struct {
	docs docs
	defs map[string]*schema
}

func typeKey(t reflect.Type) string { return path.Base(t.PkgPath()) + "." + t.Name() }

func (r *reflector) object(t reflect.Type) *schema {
	doc := r.docs[typeKey(t)]
	s := &schema{Type: "object", Description: doc.text, Properties: &properties{}}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !strings.Contains(options, "omitempty") {
			s.Required = append(s.Required, name)
		}
		p := r.value(f.Type)
		p.Description = doc.fields[f.Name]
		s.Properties.names = append(s.Properties.names, name)
		s.Properties.schemas = append(s.Properties.schemas, p)
	}
	return s
}

func (r *reflector) value(t reflect.Type) *schema {
	switch t {
	case reflect.TypeFor[time.Time]():
		return &schema{Type: "string", Format: "date-time"}
	case reflect.TypeFor[json.RawMessage]():
		return &schema{} // any JSON
	}
	switch t.Kind() { //nolint:exhaustive // what is left is an integer: encoding/json knows no more that events use
	case reflect.Pointer:
		return nullable(r.value(t.Elem()))
	case reflect.Slice:
		return nullable(&schema{Type: "array", Items: r.value(t.Elem())})
	case reflect.Struct:
		key := typeKey(t)
		if _, done := r.defs[key]; !done {
			r.defs[key] = &schema{} // ends recursion
			r.defs[key] = r.object(t)
		}
		return &schema{Ref: "#/$defs/" + key}
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Float32, reflect.Float64:
		return &schema{Type: "number"}
	default:
		return &schema{Type: "integer"}
	}
}

// nullable also allows null: Go writes a nil pointer and a nil slice so.
func nullable(s *schema) *schema {
	if name, ok := s.Type.(string); ok {
		s.Type = []string{name, "null"}
		return s
	}
	return &schema{AnyOf: []*schema{s, {Type: "null"}}}
}
