// Package window keeps what the gateway needs of address spaces: the messages of each process's newest
// window, in memory.
//
// A space is a pure fold of the stream "context/<pid>" up to a version. Nothing of it is stored by the
// gateway: what is not in memory, or does not fit the version asked for, is folded again from the event
// store, which holds every page and window for ever. So a lost entry, a batch that failed and a shard
// that moved all mend themselves in the same way.
package window

import (
	"fmt"
	"slices"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Space is the fold of one stream "context/<pid>". The zero Space is a stream without events.
type Space struct {
	Version  int64                   // of the last event folded
	Window   context.WindowAssembled // the newest one
	Opened   int64                   // version of the newest window; 0 when there is none
	OpenedAt time.Time               // when it was assembled

	pages    map[string]chat.Message
	messages []chat.Message // of the newest window, as far as its pages are known
	chain    []string       // chain hash after each of them
	missing  string         // hash of a page the newest window names and nobody wrote
	bytes    int
}

// Apply folds the event with the next version, written at a time.
func (s *Space) Apply(version int64, at time.Time, e events.Event) {
	s.Version = version
	switch e := e.(type) {
	case context.PageWritten:
		if e.Message == nil {
			return // written before
		}
		if s.pages == nil {
			s.pages = map[string]chat.Message{}
		}
		if _, known := s.pages[e.Hash]; !known {
			s.pages[e.Hash] = *e.Message
			s.bytes += size(*e.Message)
		}
	case context.WindowAssembled:
		s.assemble(e)
		s.Window, s.Opened, s.OpenedAt = e, version, at
	}
}

// assemble makes the window's messages of the window before and the appended pages. Requests that run
// hold slices of earlier windows: those are only ever appended to.
func (s *Space) assemble(w context.WindowAssembled) {
	s.missing = ""
	if w.Keep < 0 || w.Keep > len(s.messages) {
		s.missing = "the window before"
		return
	}
	if w.Keep < len(s.messages) {
		s.messages = append([]chat.Message(nil), s.messages[:w.Keep]...)
		s.chain = append([]string(nil), s.chain[:w.Keep]...)
	}
	for _, hash := range w.Appended {
		m, ok := s.pages[hash]
		if !ok {
			s.missing = hash
			return
		}
		s.messages = append(s.messages, m)
		s.chain = append(s.chain, chat.Extend(s.tail(), m.Hash()))
	}
}

func (s *Space) tail() string {
	if len(s.chain) == 0 {
		return ""
	}
	return s.chain[len(s.chain)-1]
}

// Messages is the newest window. It is a fault of kind Internal when a page is missing or the messages
// do not have the chain hash that the window tells.
func (s *Space) Messages() ([]chat.Message, error) {
	const op = "window.messages"
	if s.missing != "" {
		return nil, fault.Newf(fault.Internal, op, "the window of step %d names %s, which was never written", s.Window.Step, s.missing)
	}
	if got := s.tail(); got != s.Window.Hash {
		return nil, fault.New(fault.Internal, op, fmt.Sprintf("the window of step %d has the hash %s, its messages have %s",
			s.Window.Step, s.Window.Hash, got))
	}
	return slices.Clip(s.messages), nil
}

// pageOverhead is roughly what a page costs in memory beside its text: map entry, headers, hashes.
const pageOverhead = 600

func size(m chat.Message) int {
	n := pageOverhead + len(m.String())
	if m.Reasoning != nil {
		n += len(*m.Reasoning)
	}
	for _, c := range m.ToolCalls {
		n += 100 + len(c.ID) + len(c.Function.Name) + len(c.Function.Arguments)
	}
	return n
}
