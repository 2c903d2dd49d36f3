package bus_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go/sasl/plain"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func lookup(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestFromEnv(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := bus.FromEnv(lookup(map[string]string{
		"KAFKA_BROKERS": " a:9092, b:9093 ,", "KAFKA_TLS": "true", "KAFKA_SASL_MECHANISM": "plain", "KAFKA_SASL_USERNAME": "kernel",
		"KAFKA_SASL_PASSWORD_FILE": secret, "KAFKA_SESSION_TIMEOUT": "10s", "KAFKA_REBALANCE_TIMEOUT": "5s",
		"KAFKA_REPLICATION_FACTOR": "3", "KAFKA_PARTITIONS": "24",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a:9092", "b:9093"}, c.Brokers); diff != "" {
		t.Error(diff)
	}
	if c.SASL != (plain.Mechanism{Username: "kernel", Password: "s3cret"}) {
		t.Errorf("SASL %+v", c.SASL)
	}
	if c.TLS == nil || c.TLS.RootCAs != nil || len(c.TLS.Certificates) != 0 {
		t.Errorf("TLS %+v", c.TLS)
	}
	if c.SessionTimeout != 10*time.Second || c.RebalanceTimeout != 5*time.Second || c.Replication != 3 || c.Partitions != 24 {
		t.Errorf("%+v", c)
	}
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		c, err := bus.FromEnv(lookup(map[string]string{
			"KAFKA_BROKERS": "a:1", "KAFKA_SASL_MECHANISM": mechanism, "KAFKA_SASL_USERNAME": "kernel", "KAFKA_SASL_PASSWORD": "x",
		}))
		if err != nil || c.SASL.Name() != mechanism || c.TLS != nil {
			t.Errorf("%s: %+v, %v", mechanism, c, err)
		}
	}
	for _, unset := range []string{"", " , "} {
		c, err := bus.FromEnv(lookup(map[string]string{"KAFKA_BROKERS": unset}))
		if err != nil || len(c.Brokers) != 0 || c.SASL != nil || c.TLS != nil {
			t.Errorf("brokers %q: %+v, %v", unset, c, err)
		}
	}
}

func TestFromEnvNamesTheVariable(t *testing.T) {
	t.Parallel()
	noCert := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(noCert, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, value, want string }{
		{"KAFKA_BROKERS", "kafka", `KAFKA_BROKERS must be host:port, separated by commas; "kafka" is not`},
		{"KAFKA_BROKERS", "kafka:9092;other:9092", "KAFKA_BROKERS must be host:port"},
		{"KAFKA_BROKERS", ":9092", "KAFKA_BROKERS must be host:port"},
		{"KAFKA_TLS", "maybe", `KAFKA_TLS must be true or false, not "maybe"`},
		{"KAFKA_TLS_CA_FILE", "/does/not/exist", "KAFKA_TLS_CA_FILE cannot be read"},
		{"KAFKA_TLS_CA_FILE", noCert, "KAFKA_TLS_CA_FILE names a file without a certificate"},
		{"KAFKA_TLS_CERT_FILE", noCert, "KAFKA_TLS_CERT_FILE is set, but KAFKA_TLS_KEY_FILE is not"},
		{"KAFKA_TLS_KEY_FILE", noCert, "KAFKA_TLS_KEY_FILE is set, but KAFKA_TLS_CERT_FILE is not"},
		{"KAFKA_SASL_MECHANISM", "GSSAPI", `KAFKA_SASL_MECHANISM must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, not "GSSAPI"`},
		{"KAFKA_SASL_MECHANISM", "PLAIN", "KAFKA_SASL_USERNAME is not set"},
		{"KAFKA_SASL_MECHANISM", "PLAIN", "KAFKA_SASL_PASSWORD is not set"},
		{"KAFKA_SASL_USERNAME", "kernel", "KAFKA_SASL_MECHANISM must be"},
		{"KAFKA_SASL_PASSWORD_FILE", "/does/not/exist", "KAFKA_SASL_PASSWORD_FILE cannot be read"},
		{"KAFKA_SESSION_TIMEOUT", "6", "KAFKA_SESSION_TIMEOUT must be a time"},
		{"KAFKA_REBALANCE_TIMEOUT", "-3s", "KAFKA_REBALANCE_TIMEOUT must be a time"},
		{"KAFKA_REPLICATION_FACTOR", "0", "KAFKA_REPLICATION_FACTOR must be a number"},
		{"KAFKA_PARTITIONS", "twelve", "KAFKA_PARTITIONS must be a number"},
	} {
		vars := map[string]string{"KAFKA_BROKERS": "a:1", c.name: c.value}
		_, err := bus.FromEnv(lookup(vars))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) || fault.FixOf(err) == "" {
			t.Errorf("%s=%s: %v, want %q", c.name, c.value, err, c.want)
		}
	}
	for _, vars := range []map[string]string{
		{"KAFKA_TLS": "true"}, {"KAFKA_SASL_USERNAME": "kernel"}, {"KAFKA_TLS_CA_FILE": noCert},
	} {
		if _, err := bus.FromEnv(lookup(vars)); err == nil || !strings.Contains(err.Error(), "is set, but KAFKA_BROKERS is not") {
			t.Errorf("%v: %v", vars, err)
		}
	}
	_, err := bus.FromEnv(lookup(map[string]string{
		"KAFKA_BROKERS": "a:1", "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "u",
		"KAFKA_SASL_PASSWORD": "hidden", "KAFKA_SASL_PASSWORD_FILE": noCert,
	}))
	if err == nil || !strings.Contains(err.Error(), "both set") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("two passwords: %v", err)
	}
}
