// Package cassette reads, writes and looks up recorded conversations.
//
// A cassette is a file of JSON lines, plain or compressed by gzip: first a header, then one line for
// each conversation. A reply is found by the chain hash of the messages before it, never by a cursor,
// so that any number of processes can replay the same recording at once and go on after a crash.
package cassette

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Version is the format's version: the value of "cassette" in the header.
const Version = 1

// Limits on what Read accepts, so that a hostile file cannot fill the memory.
const (
	MaxLineBytes  = 32 << 20  // one conversation
	MaxTotalBytes = 256 << 20 // the whole file, after decompression
)

// The origins of a cassette.
const (
	OriginProvider = "provider" // recorded from a real model
	OriginScript   = "script"   // written by hand: no model ever said it
)

// Header is the first line: where the recording comes from and which tools were offered.
type Header struct {
	Cassette int             `json:"cassette"` // Version
	Name     string          `json:"name"`     // "airline": the model is then "replay/airline"
	Source   string          `json:"source"`   // for people: who recorded it, when, where it is published
	License  string          `json:"license"`  // SPDX id, or "" when unknown
	Model    string          `json:"model"`    // the model that answered; "" for a script
	Origin   string          `json:"origin"`   // OriginProvider or OriginScript
	Tools    []chat.ToolSpec `json:"tools"`
}

// Conversation is one recorded conversation, from the first message to the last.
type Conversation struct {
	ID       string         `json:"id"` // unique within the cassette
	Messages []chat.Message `json:"messages"`
	Meta     map[string]any `json:"meta,omitempty"` // what the recorder knew besides
}

// Cassette is a whole recording.
type Cassette struct {
	Header        Header
	Conversations []Conversation
}

// Open reads the cassette at path; compression is recognised by its first bytes, not by the name.
func Open(path string) (_ *Cassette, err error) {
	const op = "cassette.open"
	f, err := os.Open(filepath.Clean(path))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.Wrap(fault.NotFound, op, "no such cassette file", err)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, "the cassette file cannot be opened", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	c, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return c, nil
}

// Read reads a cassette, plain or compressed. What is wrong with it is a fault of kind Invalid that
// names the line.
func Read(r io.Reader) (*Cassette, error) {
	lines, err := newScanner(r)
	if err != nil {
		return nil, err
	}
	header, err := lines.header()
	if err != nil {
		return nil, err
	}
	c := &Cassette{Header: header}
	ids := map[string]bool{}
	for lines.next() {
		var conv Conversation
		if err := decodeStrict(lines.line(), &conv); err != nil {
			return nil, lines.invalid("not a conversation", err)
		}
		if conv.ID == "" || ids[conv.ID] {
			return nil, lines.invalid(fmt.Sprintf("conversation id %q is empty or used twice", conv.ID), nil)
		}
		if len(conv.Messages) == 0 {
			return nil, lines.invalid(fmt.Sprintf("conversation %q has no messages", conv.ID), nil)
		}
		ids[conv.ID] = true
		c.Conversations = append(c.Conversations, conv)
	}
	return c, lines.err()
}

// Write writes the cassette as plain JSON lines. Equal cassettes give equal bytes.
func (c *Cassette) Write(w io.Writer) error {
	h := c.Header
	h.Cassette = Version
	if err := h.validate(); err != nil {
		return err
	}
	if h.Tools == nil {
		h.Tools = []chat.ToolSpec{}
	}
	b := bufio.NewWriter(w)
	if err := writeLine(b, h); err != nil {
		return err
	}
	for _, conv := range c.Conversations {
		if err := writeLine(b, conv); err != nil {
			return err
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write cassette: %w", err)
	}
	return nil
}

// WriteGzip writes the cassette compressed, without a time or a name in the gzip header.
func (c *Cassette) WriteGzip(w io.Writer) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("compress cassette: %w", err)
	}
	if err := c.Write(z); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("compress cassette: %w", err)
	}
	return nil
}

func (h Header) validate() error {
	const op = "cassette.header"
	if h.Cassette != Version {
		return fault.Newf(fault.Invalid, op, "cassette version %d is unknown", h.Cassette).
			WithFix(fmt.Sprintf(`the first line must hold "cassette":%d; a newer file needs a newer agentos`, Version))
	}
	if err := checkName(h.Name); err != nil {
		return err
	}
	if h.Origin != OriginProvider && h.Origin != OriginScript {
		return fault.Newf(fault.Invalid, op, "origin %q is unknown", h.Origin).
			WithFix(`say where the answers come from: "provider" for a recording, "script" when written by hand`)
	}
	return nil
}

func writeLine(w io.Writer, v any) error {
	data, err := events.Encode(v)
	if err != nil {
		return fault.Wrap(fault.Invalid, "cassette.write", "a line cannot be encoded", err)
	}
	if _, err := w.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("write cassette: %w", err)
	}
	return nil
}

// decodeStrict refuses unknown fields: a field we do not keep would change the hash of a message.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if dec.More() {
		return errors.New("more than one JSON value on the line")
	}
	return nil
}
