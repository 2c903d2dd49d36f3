package kafka

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/testkit"
	"github.com/agentos-kernel/agentos/libs/testkit/kafkatest"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// secureEnv is how to reach the listener with TLS and password.
func secureEnv(b *kafkatest.Broker, mechanism string) map[string]string {
	cert, key := b.ClientCert()
	return map[string]string{
		bus.EnvBrokers: b.TLSAddr(), bus.EnvTLSCA: b.CAFile(), bus.EnvTLSCert: cert, bus.EnvTLSKey: key,
		bus.EnvSASLMechanism: mechanism, bus.EnvSASLUsername: kafkatest.User, bus.EnvSASLPassword: kafkatest.Password,
	}
}

func fromEnv(t *testing.T, env map[string]string) bus.Config {
	t.Helper()
	cfg, err := bus.FromEnv(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestTLSAndPasswords(t *testing.T) { //nolint:paralleltest // one JVM at a time on a small machine
	b := kafkatest.Start(t, kafkatest.Config{Secure: true})
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} { //nolint:paralleltest // as above
		t.Run(mechanism, func(t *testing.T) { roundTrip(t, fromEnv(t, secureEnv(b, mechanism)), mechanism) })
	}
	t.Run("without TLS", func(t *testing.T) { //nolint:paralleltest // as above
		roundTrip(t, fromEnv(t, map[string]string{
			bus.EnvBrokers: b.PasswordAddr(), bus.EnvSASLMechanism: "SCRAM-SHA-512",
			bus.EnvSASLUsername: kafkatest.User, bus.EnvSASLPassword: kafkatest.Password,
		}), "without-tls")
	})
	t.Run("mistakes", func(t *testing.T) { mistakes(t, b) }) //nolint:paralleltest // as above
	t.Run("kernel", func(t *testing.T) {                     //nolint:paralleltest // as above
		env := []string{bus.EnvPartitions + "=4"} // each partition of each topic is a connection, with its handshake
		for name, value := range secureEnv(b, "SCRAM-SHA-512") {
			env = append(env, name+"="+value)
		}
		began := time.Now()
		k := kernel.Up(t, env)
		t.Logf("up after %.1f s", time.Since(began).Seconds())
		kernel.StartDrive(t, k.Client, "secure", 3, driveLimit).Check(t, k.Client)
	})
}

// roundTrip makes a topic, writes to it and reads it as a member of a group.
func roundTrip(t *testing.T, cfg bus.Config, topic string) {
	t.Helper()
	if err := bus.EnsureTopics(t.Context(), cfg, []bus.TopicSpec{{Name: topic, Partitions: 2}}); err != nil {
		t.Fatal(err)
	}
	l := newListener(t, cfg, topic)
	publish(t, cfg, topic, 100)
	testkit.Eventually(t, "all messages", func() bool { return l.count() == 100 })
}

// mistakes are what a broker refuses: the error says so soon, with the variable to look at.
func mistakes(t *testing.T, b *kafkatest.Broker) {
	t.Helper()
	for _, c := range []struct {
		name, fix string
		kind      fault.Kind
		change    map[string]string
	}{
		{"wrong password", "KAFKA_SASL_PASSWORD", fault.Denied, map[string]string{bus.EnvSASLPassword: "wrong"}},
		{"wrong password, plain", "KAFKA_SASL_PASSWORD", fault.Denied, map[string]string{bus.EnvSASLPassword: "wrong", bus.EnvSASLMechanism: "PLAIN"}},
		{"unknown authority", "KAFKA_TLS_CA_FILE", fault.Denied, map[string]string{bus.EnvTLSCA: "", bus.EnvTLS: "true"}},
		{"no client certificate", "KAFKA_TLS_CERT_FILE", fault.Denied, map[string]string{bus.EnvTLSCert: "", bus.EnvTLSKey: ""}},
		{"no TLS", "KAFKA_TLS", fault.Unavailable, map[string]string{bus.EnvTLSCA: "", bus.EnvTLSCert: "", bus.EnvTLSKey: ""}},
		{"no password", "KAFKA_SASL_MECHANISM", fault.Unavailable, map[string]string{bus.EnvSASLMechanism: "", bus.EnvSASLUsername: "", bus.EnvSASLPassword: ""}},
		{"no such broker", "KAFKA_BROKERS", fault.Unavailable, map[string]string{bus.EnvBrokers: "127.0.0.1:" + kernel.Port(t)}},
		{"too many replicas", "KAFKA_REPLICATION_FACTOR", fault.Unavailable, map[string]string{bus.EnvReplication: "3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := secureEnv(b, "SCRAM-SHA-256")
			maps.Copy(env, c.change)
			cfg := fromEnv(t, env)
			cfg.RetryTime = 6 * time.Second
			began := time.Now()
			err := bus.EnsureTopics(t.Context(), cfg, []bus.TopicSpec{{Name: "mistakes", Partitions: 1}})
			t.Logf("after %.1f s: %v; fix: %s", time.Since(began).Seconds(), err, fault.FixOf(err))
			if !fault.Is(err, c.kind) || !strings.Contains(fault.FixOf(err), c.fix) {
				t.Fatalf("%v; fix %q, want one that names %s", err, fault.FixOf(err), c.fix)
			}
			if c.kind != fault.Denied {
				return // it may pass, so a consumer waits
			}
			consumer, err := bus.NewConsumer(cfg, "g", []string{"mistakes"}, ignore{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := consumer.Run(ctx); !fault.Is(err, c.kind) || !strings.Contains(fault.FixOf(err), c.fix) {
				t.Errorf("Run: %v; fix %q", err, fault.FixOf(err))
			}
		})
	}
}

// ignore is a bus.Handler.
type ignore struct{}

func (ignore) Assigned(context.Context, []int) error                 { return nil }
func (ignore) Revoked([]int)                                         {}
func (ignore) Handle(context.Context, int, []*message.Message) error { return nil }
