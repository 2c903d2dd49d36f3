package tool

// The wire names and schema versions of the family. They never change; a changed shape is a new version.

// Kind implements [events.Event].
func (CallDecided) Kind() string { return "tool.call_decided" }

// SchemaVersion implements [events.Event].
func (CallDecided) SchemaVersion() int { return 1 }

func (CallDecided) isToolEvent() {}

// Kind implements [events.Event].
func (CallStarted) Kind() string { return "tool.call_started" }

// SchemaVersion implements [events.Event].
func (CallStarted) SchemaVersion() int { return 1 }

func (CallStarted) isToolEvent() {}

// Kind implements [events.Event].
func (CallFinished) Kind() string { return "tool.call_finished" }

// SchemaVersion implements [events.Event].
func (CallFinished) SchemaVersion() int { return 1 }

func (CallFinished) isToolEvent() {}

// Kind implements [events.Event].
func (CallFailed) Kind() string { return "tool.call_failed" }

// SchemaVersion implements [events.Event].
func (CallFailed) SchemaVersion() int { return 1 }

func (CallFailed) isToolEvent() {}

// Kind implements [events.Event].
func (CallCancelled) Kind() string { return "tool.call_cancelled" }

// SchemaVersion implements [events.Event].
func (CallCancelled) SchemaVersion() int { return 1 }

func (CallCancelled) isToolEvent() {}

// Kind implements [events.Event].
func (RegistryPublished) Kind() string { return "tool.registry_published" }

// SchemaVersion implements [events.Event].
func (RegistryPublished) SchemaVersion() int { return 1 }

func (RegistryPublished) isToolEvent() {}
