package tool_test

import (
	"testing"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/internal/goldentest"
	"github.com/agentos-kernel/agentos/events/tool"
)

func TestGoldens(t *testing.T) {
	t.Parallel()
	goldentest.Run(t, events.Tool, tool.Types())
}
