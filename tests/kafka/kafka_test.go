// Package kafka runs the bus and the kernel against real Apache Kafka, started from its published jars.
package kafka

import (
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/testkit/kafkatest"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// versions are the newest of both lines we promise to work with.
func versions() []string { return []string{kafkatest.Newest4, kafkatest.Newest3} }

const (
	conversations = 20
	driveLimit    = 5 * time.Minute // a JVM takes a minute to start on a machine with much other work
)

// Recorded conversations run while the broker is killed, and while it loses the newest segment of every
// partition: everything finishes, nothing is lost or done twice.
func TestKernelOutlivesTheBroker(t *testing.T) { //nolint:paralleltest // one JVM at a time on a small machine
	for _, version := range versions() { //nolint:paralleltest // as above
		t.Run(version, func(t *testing.T) {
			// A new segment each second: what is lost is the end of a log, not all of it.
			b := kafkatest.Start(t, kafkatest.Config{Version: version, Properties: map[string]string{"log.roll.ms": "1000"}})
			k := kernel.Up(t, []string{bus.EnvBrokers + "=" + b.Addr(), bus.EnvPartitions + "=4"})
			outage(t, k, b, "killed", func() {})
			outage(t, k, b, "lost segments", func() {
				n, err := b.DropNewestSegments("agentos.*")
				if err != nil || n == 0 {
					t.Fatalf("%d segments lost, %v", n, err)
				}
				t.Logf("%d segments with messages are lost", n)
			})
			kernel.AuditVerified(t, k.Client)
		})
	}
}

// outage kills the broker under load, does something to it, and starts it again.
func outage(t *testing.T, k *kernel.Kernel, b *kafkatest.Broker, name string, meanwhile func()) {
	t.Helper()
	d := kernel.StartDrive(t, k.Client, name, conversations, driveLimit)
	time.Sleep(1500 * time.Millisecond)
	over := d.Over()
	b.Kill()
	killed := time.Now()
	meanwhile()
	b.MustStart(t)
	back := time.Now()
	d.Check(t, k.Client)
	t.Logf("%s: away for %.1f s (load over before: %v); everything was done %.1f s after the broker was back",
		name, back.Sub(killed).Seconds(), over, time.Since(back).Seconds())
}
