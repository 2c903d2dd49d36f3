package handle

import (
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/audit/internal/core"
)

// Fold is how far the signed heads reach, by the stream that tells them.
func Fold() service.Fold[core.State] {
	return service.Fold[core.State]{Family: events.Audit, Evolve: core.Evolve, Codec: core.Codec}
}
