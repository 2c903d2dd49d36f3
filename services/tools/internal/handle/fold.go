package handle

import (
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/tools/internal/core"
)

// Fold is how the tool calls of a process are made of their stream.
func Fold() service.Fold[core.State] {
	return service.Fold[core.State]{Family: events.Tool, Evolve: core.Evolve, Codec: core.Codec}
}
