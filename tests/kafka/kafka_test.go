// Package kafka runs the kernel against real Apache Kafka, started from its published jars, and kills
// the broker while recorded conversations run.
package kafka

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// versions are the newest of both lines we promise to work with.
func versions() []string { return []string{"4.4.0", "3.9.2"} }

const (
	conversations = 20
	driveLimit    = 2 * time.Minute
)

func TestRealKafka(t *testing.T) {
	t.Parallel()
	if os.Getenv("AGENTOS_TEST_KAFKA") == "" {
		t.Skip("opt-in: `make kafka` runs it; it needs java and mvn and fetches 43 MB per version")
	}
	for _, version := range versions() { //nolint:paralleltest // one JVM at a time on a small machine
		t.Run(version, func(t *testing.T) {
			b := newBroker(t, version)
			b.start(t)
			k := kernel.Up(t, []string{"KAFKA_BROKERS=" + b.addr})
			d := kernel.StartDrive(t, k.Client, "calm", conversations, driveLimit)
			d.Check(t, k.Client)
			d = kernel.StartDrive(t, k.Client, "killed", conversations, driveLimit)
			time.Sleep(1500 * time.Millisecond)
			b.kill()
			killed := time.Now()
			b.start(t)
			t.Logf("Kafka %s was away for %.1f s", version, time.Since(killed).Seconds())
			d.Check(t, k.Client)
			t.Logf("everything was done %.1f s after the kill", time.Since(killed).Seconds())
			kernel.AuditVerified(t, k.Client)
		})
	}
}

// broker is one Kafka node, broker and controller in one.
type broker struct {
	dir, addr string
	classes   string
	cmd       *exec.Cmd
}

// newBroker fetches the jars, once per version, and formats an empty log folder.
func newBroker(t *testing.T, version string) *broker {
	t.Helper()
	cache, err := embedded.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	lib := filepath.Join(cache, "kafka-"+version)
	if _, err := os.Stat(filepath.Join(lib, "kafka-clients-"+version+".jar")); errors.Is(err, os.ErrNotExist) {
		run(t, "mvn", "-B", "-ntp", "-q", "-f", filepath.Join(kernel.Root(t), "tests", "kafka", "pom.xml"), "-Dkafka.version="+version,
			"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+lib)
	}
	b := &broker{dir: t.TempDir(), classes: filepath.Join(lib, "*"), addr: "127.0.0.1:" + kernel.Port(t)}
	controller := "127.0.0.1:" + kernel.Port(t)
	conf := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
advertised.listeners=PLAINTEXT://%[1]s
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=%[3]s
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
`, b.addr, controller, filepath.Join(b.dir, "data"))
	if err := os.WriteFile(b.conf(), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read never fails
	id[0] &= 0x7f           // the text must begin with a letter: one that begins with "-" is taken for an option
	run(t, "java", "-Xmx256m", "-cp", b.classes, "kafka.tools.StorageTool", "format", "-t",
		base64.RawURLEncoding.EncodeToString(id[:]), "-c", b.conf())
	t.Cleanup(b.kill)
	return b
}

func (b *broker) conf() string { return filepath.Join(b.dir, "server.properties") }

// start starts the broker and waits until it takes connections.
func (b *broker) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(b.dir, "kafka.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	b.cmd = exec.Command("java", "-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", b.classes, "kafka.Kafka", b.conf()) //nolint:gosec,noctx // our own arguments; ended by kill
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dialer := net.Dialer{Timeout: time.Second}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		conn, err := dialer.DialContext(t.Context(), "tcp", b.addr)
		if err == nil {
			_ = conn.Close() // it was only asked whether somebody listens
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Kafka does not listen: %v", err)
		}
	}
}

// kill ends the broker with SIGKILL.
func (b *broker) kill() {
	if b.cmd != nil && b.cmd.Process != nil {
		_ = b.cmd.Process.Kill() // it may have ended
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil { //nolint:gosec // our own arguments
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
