package core

import (
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/audit"
)

// Subject is the subject of the audit service's only stream.
const Subject = "log"

// Codec is the version of State as JSON, of which snapshots are made: raise it when State changes, or
// what Evolve makes of a fact. A test names the change.
const Codec = 1

// State is the fold of the stream "audit/log": how far the heads announced reach.
type State struct{ Size int64 }

// AnnounceHead asks for a signed head to be told to everybody.
type AnnounceHead struct {
	Size int64
	Root string // hex
	Note string
}

// Decide announces a head only if it reaches further than all before it; several replicas may ask for
// the same one.
func Decide(s State, c AnnounceHead) []audit.Event {
	if c.Size <= s.Size {
		return nil
	}
	return []audit.Event{audit.HeadSigned{Size: c.Size, Root: c.Root, Note: c.Note}}
}

// Evolve folds the service's own events.
func Evolve(s State, e events.Event) State {
	if head, ok := e.(audit.HeadSigned); ok {
		s.Size = max(s.Size, head.Size)
	}
	return s
}
