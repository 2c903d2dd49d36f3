package bus

import (
	"context"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
)

// FuzzWire checks that a message is the same after encode and decode.
func FuzzWire(f *testing.F) {
	f.Add("id", "key", "ce_type", "agent.spawned", []byte("{}"))
	f.Add("", "", headerID, "other", []byte(nil))
	f.Add("id", "k", headerID, "id", []byte{0})
	f.Add("id", "\xff", "", "", []byte("x"))
	f.Fuzz(func(t *testing.T, uuid, key, name, value string, payload []byte) {
		if name == headerUUID {
			t.Skip("the name is taken")
		}
		m := message.NewMessage(uuid, payload)
		m.Metadata.Set(name, value)
		m.Metadata.Set(KeyMetadata, key)
		want := m.Copy()
		want.Metadata.Set(KeyMetadata, keyOf(m))
		rec := encode(want.Metadata.Get(KeyMetadata), m)
		got, err := decode(&rec, &origin{Context: context.Background()})
		if err != nil {
			t.Fatal(err)
		}
		if got.UUID != uuid || string(got.Payload) != string(payload) {
			t.Errorf("uuid %q, payload %q", got.UUID, got.Payload)
		}
		if key == "" && uuid == "" {
			return // the key was drawn at random
		}
		if diff := cmp.Diff(want.Metadata, got.Metadata); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzDecode feeds records of other clients.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("k"), []byte("v"), "h", []byte("x"))
	f.Fuzz(func(t *testing.T, key, value []byte, name string, header []byte) {
		rec := kafka.Record{
			Key: kafka.NewBytes(key), Value: kafka.NewBytes(value),
			Headers: []kafka.Header{{Key: name, Value: header}, {Key: name, Value: header}},
		}
		m, err := decode(&rec, &origin{Context: context.Background(), topic: "t", offset: 7})
		if err != nil || string(m.Payload) != string(value) || MessageOffset(m.Context()) != 7 {
			t.Errorf("%v %v", m, err)
		}
	})
}
