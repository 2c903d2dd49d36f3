package cassette

import (
	"io"
	"slices"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Builder collects conversations into a cassette that can be replayed and holds no secrets.
type Builder struct {
	cassette Cassette
	secrets  []string
}

// NewBuilder starts a cassette; secrets are removed from all messages, see [Redact].
func NewBuilder(h Header, secrets ...string) *Builder {
	h.Cassette = Version
	return &Builder{cassette: Cassette{Header: h}, secrets: slices.Clone(secrets)}
}

// Add appends a conversation.
func (b *Builder) Add(id string, messages []chat.Message, meta map[string]any) {
	b.cassette.Conversations = append(b.cassette.Conversations,
		Conversation{ID: id, Messages: slices.Clone(messages), Meta: meta})
}

// Cassette is what was added, without secrets. It fails when it could not be replayed: an id used
// twice, or two different replies after the same messages.
func (b *Builder) Cassette() (*Cassette, error) {
	ids := map[string]bool{}
	for _, conv := range b.cassette.Conversations {
		if conv.ID == "" || ids[conv.ID] || len(conv.Messages) == 0 {
			return nil, fault.Newf(fault.Invalid, "cassette.build",
				"conversation %q is empty, or its id is missing or used twice", conv.ID)
		}
		ids[conv.ID] = true
	}
	clean := Redact(&b.cassette, b.secrets...)
	if _, err := NewIndex(clean); err != nil {
		return nil, err
	}
	return clean, nil
}

// Write writes the cassette as plain JSON lines.
func (b *Builder) Write(w io.Writer) error {
	c, err := b.Cassette()
	if err != nil {
		return err
	}
	return c.Write(w)
}
