package context

// The wire names and schema versions of the family. They never change; a changed shape is a new version.

// Kind implements [events.Event].
func (PageWritten) Kind() string { return "context.page_written" }

// SchemaVersion implements [events.Event].
func (PageWritten) SchemaVersion() int { return 1 }

func (PageWritten) isContextEvent() {}

// Kind implements [events.Event].
func (WindowAssembled) Kind() string { return "context.window_assembled" }

// SchemaVersion implements [events.Event].
func (WindowAssembled) SchemaVersion() int { return 1 }

func (WindowAssembled) isContextEvent() {}

// Kind implements [events.Event].
func (WindowRefused) Kind() string { return "context.window_refused" }

// SchemaVersion implements [events.Event].
func (WindowRefused) SchemaVersion() int { return 1 }

func (WindowRefused) isContextEvent() {}
