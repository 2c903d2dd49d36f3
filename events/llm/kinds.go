package llm

// The wire names and schema versions of the family. They never change; a changed shape is a new version.

// Kind implements [events.Event].
func (CallStarted) Kind() string { return "llm.call_started" }

// SchemaVersion implements [events.Event].
func (CallStarted) SchemaVersion() int { return 1 }

func (CallStarted) isLLMEvent() {}

// Kind implements [events.Event].
func (CallRefused) Kind() string { return "llm.call_refused" }

// SchemaVersion implements [events.Event].
func (CallRefused) SchemaVersion() int { return 1 }

func (CallRefused) isLLMEvent() {}

// Kind implements [events.Event].
func (CallFinished) Kind() string { return "llm.call_finished" }

// SchemaVersion implements [events.Event].
func (CallFinished) SchemaVersion() int { return 1 }

func (CallFinished) isLLMEvent() {}

// Kind implements [events.Event].
func (CallFailed) Kind() string { return "llm.call_failed" }

// SchemaVersion implements [events.Event].
func (CallFailed) SchemaVersion() int { return 1 }

func (CallFailed) isLLMEvent() {}

// Kind implements [events.Event].
func (CallCancelled) Kind() string { return "llm.call_cancelled" }

// SchemaVersion implements [events.Event].
func (CallCancelled) SchemaVersion() int { return 1 }

func (CallCancelled) isLLMEvent() {}

// Kind implements [events.Event].
func (CatalogPublished) Kind() string { return "llm.catalog_published" }

// SchemaVersion implements [events.Event].
func (CatalogPublished) SchemaVersion() int { return 1 }

func (CatalogPublished) isLLMEvent() {}
