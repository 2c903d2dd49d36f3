package bus

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"
)

const (
	// KeyMetadata is the metadata entry used as the Kafka key. The key is never empty: without the
	// entry it is the message's UUID. A received message has the key in this entry.
	KeyMetadata = "partition_key"

	// headerID is CloudEvents' id, which doubles as the message's UUID.
	headerID = "ce_id"

	// headerUUID is the name Watermill's own Kafka adapter uses.
	headerUUID = "_watermill_message_uuid"

	// recordOverhead is a generous bound on the framing of a record, and entryOverhead on that of
	// one header.
	recordOverhead = 64
	entryOverhead  = 10
)

// keyOf is the message's Kafka key. A message with neither key nor UUID gets a random one, since
// an empty key would be spread over the partitions by each client in its own way.
func keyOf(m *message.Message) string {
	if k := m.Metadata[KeyMetadata]; k != "" {
		return k
	}
	if m.UUID != "" {
		return m.UUID
	}
	return watermill.NewUUID()
}

// encode makes a record: every metadata entry is a header of the same name, but for the key.
func encode(key string, m *message.Message) kafka.Record {
	headers := make([]kafka.Header, 0, len(m.Metadata)+1)
	id, hasID := "", false
	for name, value := range m.Metadata {
		switch name {
		case KeyMetadata:
			continue
		case headerID:
			id, hasID = value, true
		}
		headers = append(headers, kafka.Header{Key: name, Value: []byte(value)})
	}
	if !hasID || id != m.UUID {
		headers = append(headers, kafka.Header{Key: headerUUID, Value: []byte(m.UUID)})
	}
	payload := m.Payload
	if payload == nil {
		payload = message.Payload{} // a nil value would be a tombstone
	}
	return kafka.Record{Key: kafka.NewBytes([]byte(key)), Value: kafka.NewBytes(payload), Headers: headers}
}

// sizeOf is an upper bound of the record's size on the wire.
func sizeOf(m *message.Message) int {
	n := recordOverhead + len(m.Payload) + 2*len(m.UUID) + len(headerUUID)
	for name, value := range m.Metadata {
		n += len(name) + len(value) + entryOverhead
	}
	return n
}

// decode makes a message with the context at.
func decode(r *kafka.Record, at *origin) (*message.Message, error) {
	key, err := readAll(r.Key)
	if err != nil {
		return nil, fmt.Errorf("read key at offset %d: %w", r.Offset, err)
	}
	payload, err := readAll(r.Value)
	if err != nil {
		return nil, fmt.Errorf("read value at offset %d: %w", r.Offset, err)
	}
	m := message.NewMessage("", payload)
	m.Metadata = make(message.Metadata, len(r.Headers)+1)
	hasUUID := false
	for _, h := range r.Headers {
		if h.Key == headerUUID {
			m.UUID, hasUUID = string(h.Value), true
			continue
		}
		m.Metadata[h.Key] = string(h.Value)
	}
	if !hasUUID {
		m.UUID = m.Metadata[headerID]
	}
	if len(key) > 0 {
		m.Metadata[KeyMetadata] = string(key)
	}
	m.SetContext(at)
	return m, nil
}

func readAll(b kafka.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	data, err := kafka.ReadAll(b)
	if cerr := b.Close(); err == nil {
		err = cerr
	}
	return data, err
}

// origin is the context of a received message: where it came from, on top of the reader's context.
// A type of its own costs one allocation instead of three.
type origin struct {
	context.Context //nolint:containedctx // it is a context
	topic           string
	partition       int
	offset          int64
}

type originKey struct{}

// Value gives the origin itself to the accessors of this package.
func (o *origin) Value(key any) any {
	if key == (originKey{}) {
		return o
	}
	return o.Context.Value(key)
}

func originOf(ctx context.Context) (*origin, bool) {
	o, ok := ctx.Value(originKey{}).(*origin)
	return o, ok
}

// MessageTopic is the topic a received message was read from; "" for any other context.
func MessageTopic(ctx context.Context) string {
	if o, ok := originOf(ctx); ok {
		return o.topic
	}
	return ""
}

// MessagePartition is the partition a received message was read from; -1 for any other context.
func MessagePartition(ctx context.Context) int {
	if o, ok := originOf(ctx); ok {
		return o.partition
	}
	return -1
}

// MessageOffset is the offset of a received message in its partition; -1 for any other context.
func MessageOffset(ctx context.Context) int64 {
	if o, ok := originOf(ctx); ok {
		return o.offset
	}
	return -1
}
