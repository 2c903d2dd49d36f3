package core_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/service/foldtest"
	"github.com/agentos-kernel/agentos/services/tools/internal/core"
)

func TestSnapshots(t *testing.T) {
	t.Parallel()
	foldtest.Run(t, service.Fold[core.State]{Family: events.Tool, Evolve: core.Evolve, Codec: core.Codec},
		func(t *rapid.T) (history []events.Event) {
			w := &world{starts: map[string]int{}, ended: map[string]int{}, decided: map[string]string{}}
			step := 1
			for range rapid.IntRange(1, 60).Draw(t, "commands") {
				w.do(t, w.random(t, &step))
			}
			for _, e := range w.log {
				history = append(history, e)
			}
			return history
		})
}
