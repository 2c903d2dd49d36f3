package handle

import (
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
)

// Fold is how the model calls of a process are made of their stream.
func Fold() service.Fold[core.State] {
	return service.Fold[core.State]{Family: events.LLM, Evolve: core.Evolve, Codec: core.Codec}
}
