package agent

// The wire names and schema versions of the family. They never change; a changed shape is a new version.

// Kind implements [events.Event].
func (Spawned) Kind() string { return "agent.spawned" }

// SchemaVersion implements [events.Event].
func (Spawned) SchemaVersion() int { return 1 }

func (Spawned) isAgentEvent() {}

// Kind implements [events.Event].
func (StepGranted) Kind() string { return "agent.step_granted" }

// SchemaVersion implements [events.Event].
func (StepGranted) SchemaVersion() int { return 1 }

func (StepGranted) isAgentEvent() {}

// Kind implements [events.Event].
func (StepSettled) Kind() string { return "agent.step_settled" }

// SchemaVersion implements [events.Event].
func (StepSettled) SchemaVersion() int { return 1 }

func (StepSettled) isAgentEvent() {}

// Kind implements [events.Event].
func (CallObserved) Kind() string { return "agent.call_observed" }

// SchemaVersion implements [events.Event].
func (CallObserved) SchemaVersion() int { return 1 }

func (CallObserved) isAgentEvent() {}

// Kind implements [events.Event].
func (MessageReceived) Kind() string { return "agent.message_received" }

// SchemaVersion implements [events.Event].
func (MessageReceived) SchemaVersion() int { return 1 }

func (MessageReceived) isAgentEvent() {}

// Kind implements [events.Event].
func (MessageDelivered) Kind() string { return "agent.message_delivered" }

// SchemaVersion implements [events.Event].
func (MessageDelivered) SchemaVersion() int { return 1 }

func (MessageDelivered) isAgentEvent() {}

// Kind implements [events.Event].
func (Waiting) Kind() string { return "agent.waiting" }

// SchemaVersion implements [events.Event].
func (Waiting) SchemaVersion() int { return 1 }

func (Waiting) isAgentEvent() {}

// Kind implements [events.Event].
func (SignalReceived) Kind() string { return "agent.signal_received" }

// SchemaVersion implements [events.Event].
func (SignalReceived) SchemaVersion() int { return 1 }

func (SignalReceived) isAgentEvent() {}

// Kind implements [events.Event].
func (Completed) Kind() string { return "agent.completed" }

// SchemaVersion implements [events.Event].
func (Completed) SchemaVersion() int { return 1 }

func (Completed) isAgentEvent() {}

// Kind implements [events.Event].
func (Failed) Kind() string { return "agent.failed" }

// SchemaVersion implements [events.Event].
func (Failed) SchemaVersion() int { return 1 }

func (Failed) isAgentEvent() {}

// Kind implements [events.Event].
func (Terminated) Kind() string { return "agent.terminated" }

// SchemaVersion implements [events.Event].
func (Terminated) SchemaVersion() int { return 1 }

func (Terminated) isAgentEvent() {}
