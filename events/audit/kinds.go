package audit

// The wire names and schema versions of the family. They never change; a changed shape is a new version.

// Kind implements [events.Event].
func (HeadSigned) Kind() string { return "audit.head_signed" }

// SchemaVersion implements [events.Event].
func (HeadSigned) SchemaVersion() int { return 1 }

func (HeadSigned) isAuditEvent() {}
