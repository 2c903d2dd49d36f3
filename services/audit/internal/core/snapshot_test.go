package core_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/audit"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/service/foldtest"
	"github.com/agentos-kernel/agentos/services/audit/internal/core"
)

func TestSnapshots(t *testing.T) {
	t.Parallel()
	foldtest.Run(t, service.Fold[core.State]{Family: events.Audit, Evolve: core.Evolve, Codec: core.Codec},
		func(t *rapid.T) (history []events.Event) {
			for range rapid.IntRange(0, 40).Draw(t, "heads") {
				history = append(history, audit.HeadSigned{Size: rapid.Int64Range(0, 1000).Draw(t, "size"), Root: "00", Note: "n"})
			}
			return history
		})
}
