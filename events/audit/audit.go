// Package audit holds the facts about the audit log. Only the audit service writes them, to the stream
// "audit/log".
package audit

import "github.com/agentos-kernel/agentos/events"

// Event is a fact about the audit log.
//
//sumtype:decl
type Event interface {
	events.Event
	isAuditEvent()
}

// HeadSigned is a signed head of the Merkle log.
type HeadSigned struct {
	Size int64  `json:"size"` // leaves under this head
	Root string `json:"root"` // hex
	Note string `json:"note"` // the signed note, C2SP tlog-checkpoint
}
