package eventstoretest_test

import (
	"testing"

	"github.com/agentos-kernel/agentos/libs/eventstore/eventstoretest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	eventstoretest.Run(t, func(*testing.T) eventstoretest.Store { return &eventstoretest.Memory{} })
}
