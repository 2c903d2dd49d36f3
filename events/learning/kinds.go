package learning

// The wire names and schema versions of the family. They never change; a changed shape is a new version.

// Kind implements [events.Event].
func (TrajectoryClosed) Kind() string { return "learning.trajectory_closed" }

// SchemaVersion implements [events.Event].
func (TrajectoryClosed) SchemaVersion() int { return 1 }

func (TrajectoryClosed) isLearningEvent() {}
