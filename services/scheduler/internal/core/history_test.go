package core_test

import (
	"testing"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/service/foldtest"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/core"
)

func TestHistories(t *testing.T) {
	t.Parallel()
	foldtest.Replay(t, service.Fold[core.State]{Family: events.Agent, Evolve: core.Evolve, Codec: core.Codec})
}
