package kafka

import (
	"testing"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/bus/bustest"
	"github.com/agentos-kernel/agentos/libs/testkit/kafkatest"
)

// Watermill's universal suite; without -short in its full form.
func TestSuite(t *testing.T) { //nolint:paralleltest // one JVM at a time on a small machine
	b := kafkatest.Start(t, kafkatest.Config{})
	bustest.Suite(t, func(*testing.T) bus.Config { return b.Bus() })
}

func TestSuiteReconnect(t *testing.T) { //nolint:paralleltest // one JVM at a time on a small machine
	b := kafkatest.Start(t, kafkatest.Config{})
	bustest.Reconnect(t, b.Bus(), func() error {
		b.Kill()
		return b.Start(t.Context())
	})
}
