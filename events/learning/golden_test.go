package learning_test

import (
	"testing"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/internal/goldentest"
	"github.com/agentos-kernel/agentos/events/learning"
)

func TestGoldens(t *testing.T) {
	t.Parallel()
	goldentest.Run(t, events.Learning, learning.Types())
}
