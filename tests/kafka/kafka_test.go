// Package kafka runs the bus and the kernel against real Apache Kafka, started from its published jars.
package kafka

import (
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/libs/testkit/kafkatest"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// versions are the newest of both lines we promise to work with.
func versions() []string { return []string{kafkatest.Newest4, kafkatest.Newest3} }

const (
	conversations = 20
	driveLimit    = 2 * time.Minute
)

// Recorded conversations run while the broker is killed, and while it loses the newest segments of every
// topic: everything finishes, nothing is lost or done twice.
func TestKernelOutlivesTheBroker(t *testing.T) { //nolint:paralleltest // one JVM at a time on a small machine
	for _, version := range versions() { //nolint:paralleltest // as above
		t.Run(version, func(t *testing.T) {
			b := kafkatest.Start(t, kafkatest.Config{Version: version})
			k := kernel.Up(t, []string{"KAFKA_BROKERS=" + b.Addr()})
			d := kernel.StartDrive(t, k.Client, "killed", conversations, driveLimit)
			time.Sleep(1500 * time.Millisecond)
			b.Kill()
			killed := time.Now()
			b.MustStart(t)
			t.Logf("Kafka %s was away for %.1f s", version, time.Since(killed).Seconds())
			back := time.Now()
			d.Check(t, k.Client)
			t.Logf("everything was done %.1f s after the broker was back", time.Since(back).Seconds())
			kernel.AuditVerified(t, k.Client)
		})
	}
}
