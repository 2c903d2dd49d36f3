package context_test

import (
	"testing"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/events/internal/goldentest"
)

func TestGoldens(t *testing.T) {
	t.Parallel()
	goldentest.Run(t, events.Context, context.Types())
}
