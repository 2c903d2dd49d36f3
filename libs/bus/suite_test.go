package bus_test

import (
	"testing"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/bus/bustest"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	bustest.Suite(t, func(t *testing.T) bus.Config { t.Helper(); return startBroker(t) })
}

func TestSuiteReconnect(t *testing.T) {
	if testing.Short() {
		t.Skip("restarts a broker under 10,000 messages")
	}
	t.Parallel()
	p := startProcess(t)
	bustest.Reconnect(t, testConfig(t, p.port), func() error {
		if err := p.killNow(); err != nil {
			return err
		}
		return p.spawn()
	})
}
