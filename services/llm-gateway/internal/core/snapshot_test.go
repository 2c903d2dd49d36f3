package core_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/service/foldtest"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
)

func TestSnapshots(t *testing.T) {
	t.Parallel()
	foldtest.Run(t, service.Fold[core.State]{Family: events.LLM, Evolve: core.Evolve, Codec: core.Codec},
		func(t *rapid.T) (history []events.Event) {
			var s core.State
			for range rapid.IntRange(1, 40).Draw(t, "length") {
				evs := core.Decide(s, command(t, s))
				if rapid.IntRange(0, 20).Draw(t, "publish") == 0 {
					evs = []events.Event{llm.CatalogPublished{Models: []llm.Model{{ID: rapid.String().Draw(t, "model"), InputMicro: -1}}}}
				}
				s = fold(s, evs...)
				history = append(history, evs...)
			}
			return history
		})
}
