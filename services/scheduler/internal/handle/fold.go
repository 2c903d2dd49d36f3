package handle

import (
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/core"
)

// Fold is how processes are made of their stream.
func Fold() service.Fold[core.State] {
	return service.Fold[core.State]{Family: events.Agent, Evolve: core.Evolve, Codec: core.Codec}
}
