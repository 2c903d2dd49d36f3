package service

import (
	"fmt"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/bus"
)

// The headers of a fact on Kafka: CloudEvents 1.0 in binary mode, extensions in lower-case
// alphanumerics, and the plain W3C traceparent.
const (
	headerSpecVersion   = "ce_specversion"
	headerID            = "ce_id"
	headerType          = "ce_type"
	headerSource        = "ce_source"
	headerSubject       = "ce_subject"
	headerTime          = "ce_time"
	headerTenant        = "ce_tenant"
	headerStream        = "ce_stream"
	headerStreamVersion = "ce_streamversion"
	headerSchemaVersion = "ce_schemaversion"
	headerPosition      = "ce_position"
	headerCorrelation   = "ce_correlation"
	headerCausation     = "ce_causation"
	headerTraceParent   = "traceparent"
	headerContentType   = "content-type"
)

// ToMessage is the record as it goes over the bus: its bytes unchanged, the envelope in headers, keyed
// by its subject.
func ToMessage(r events.Record) *message.Message {
	m := message.NewMessage(r.ID, r.Data)
	m.Metadata = message.Metadata{
		bus.KeyMetadata:     r.Subject(),
		headerSpecVersion:   "1.0",
		headerID:            r.ID,
		headerType:          r.Kind,
		headerSource:        "agentos/" + string(r.Family()),
		headerSubject:       r.Subject(),
		headerTime:          r.Time.Format(time.RFC3339Nano),
		headerTenant:        r.Tenant,
		headerStream:        r.Stream,
		headerStreamVersion: strconv.FormatInt(r.StreamVersion, 10),
		headerSchemaVersion: strconv.Itoa(r.SchemaVersion),
		headerPosition:      strconv.FormatInt(r.Position, 10),
		headerCorrelation:   r.Correlation,
		headerCausation:     r.Causation,
		headerTraceParent:   r.TraceParent,
		headerContentType:   contentType(r.Data),
	}
	return m
}

func contentType(body []byte) string {
	if events.Sealed(body) {
		return "application/octet-stream"
	}
	return "application/json"
}

// FromMessage is the record a message carries.
func FromMessage(m *message.Message) (events.Record, error) {
	h := m.Metadata
	r := events.Record{
		ID: h[headerID], Tenant: h[headerTenant], Stream: h[headerStream], Kind: h[headerType],
		Correlation: h[headerCorrelation], Causation: h[headerCausation], TraceParent: h[headerTraceParent],
		Data: m.Payload,
	}
	var err error
	parse := func(name string) int64 {
		n, e := strconv.ParseInt(h[name], 10, 64)
		if e != nil && err == nil {
			err = fmt.Errorf("header %s of message %s: %w", name, m.UUID, e)
		}
		return n
	}
	r.StreamVersion, r.Position = parse(headerStreamVersion), parse(headerPosition)
	r.SchemaVersion = int(parse(headerSchemaVersion))
	at, e := time.Parse(time.RFC3339Nano, h[headerTime])
	if e != nil && err == nil {
		err = fmt.Errorf("header %s of message %s: %w", headerTime, m.UUID, e)
	}
	r.Time = at
	if err == nil && (r.Tenant == "" || r.Stream == "" || r.Kind == "" || r.StreamVersion < 1) {
		err = fmt.Errorf("message %s has no tenant, stream, kind or version", m.UUID)
	}
	return r, err
}
