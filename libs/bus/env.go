package bus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// The variables FromEnv reads. An empty one counts as not set.
const (
	EnvBrokers          = "KAFKA_BROKERS"            // host:port, separated by commas
	EnvTLS              = "KAFKA_TLS"                // true or false; default false, true with any of the files
	EnvTLSCA            = "KAFKA_TLS_CA_FILE"        // PEM; default: the system's authorities
	EnvTLSCert          = "KAFKA_TLS_CERT_FILE"      // PEM, of the client; together with its key
	EnvTLSKey           = "KAFKA_TLS_KEY_FILE"       // PEM
	EnvSASLMechanism    = "KAFKA_SASL_MECHANISM"     // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	EnvSASLUsername     = "KAFKA_SASL_USERNAME"      //
	EnvSASLPassword     = "KAFKA_SASL_PASSWORD"      //nolint:gosec // the name, not the password
	EnvSASLPasswordFile = "KAFKA_SASL_PASSWORD_FILE" //nolint:gosec // a file with the password; a newline at its end is cut off
	EnvSession          = "KAFKA_SESSION_TIMEOUT"    // "6s"
	EnvRebalance        = "KAFKA_REBALANCE_TIMEOUT"  // "3s"
	EnvReplication      = "KAFKA_REPLICATION_FACTOR" // of created topics
	EnvPartitions       = "KAFKA_PARTITIONS"         // of each topic, fixed at the first start
)

// FromEnv reads how to reach Kafka from environment variables; see the constants. getenv is os.Getenv
// outside of tests. Fields without a variable stay zero, Brokers included: then there is no Kafka of the
// user's, and of the other variables only times and counts may be set.
//
// Errors: fault.Invalid, naming every variable that is wrong.
func FromEnv(getenv func(string) string) (Config, error) {
	e := env{get: getenv}
	c := Config{
		Brokers:          e.brokers(),
		SessionTimeout:   e.duration(EnvSession),
		RebalanceTimeout: e.duration(EnvRebalance),
		Replication:      e.count(EnvReplication),
		Partitions:       e.count(EnvPartitions),
		TLS:              e.tls(),
		SASL:             e.sasl(),
	}
	if len(c.Brokers) == 0 {
		for _, name := range []string{EnvTLS, EnvTLSCA, EnvTLSCert, EnvTLSKey, EnvSASLMechanism, EnvSASLUsername, EnvSASLPassword, EnvSASLPasswordFile} {
			if getenv(name) != "" {
				e.fail(name, "is set, but "+EnvBrokers+" is not")
			}
		}
	}
	if err := errors.Join(e.errs...); err != nil {
		return Config{}, fault.Wrap(fault.Invalid, "bus.from_env", "cannot use the Kafka settings of the environment", err).
			WithFix("correct the variables that are named; unset, each has a default")
	}
	return c, nil
}

// env collects what is wrong with the variables it reads.
type env struct {
	get  func(string) string
	errs []error
}

func (e *env) fail(name, why string) { e.errs = append(e.errs, fmt.Errorf("%s %s", name, why)) }

func (e *env) brokers() []string {
	var out []string
	for b := range strings.SplitSeq(e.get(EnvBrokers), ",") {
		b = strings.TrimSpace(b)
		if b == "" {
			continue
		}
		host, port, err := net.SplitHostPort(b)
		n, perr := strconv.Atoi(port)
		if err != nil || perr != nil || host == "" || n < 1 || n > 65535 {
			e.fail(EnvBrokers, fmt.Sprintf("must be host:port, separated by commas; %q is not", b))
		}
		out = append(out, b)
	}
	return out
}

func (e *env) duration(name string) time.Duration {
	v := e.get(name)
	if v == "" {
		return 0
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < time.Second || d > time.Hour {
		e.fail(name, fmt.Sprintf("must be a time between 1s and 1h, like 6s, not %q", v))
	}
	return d
}

func (e *env) count(name string) int {
	v := e.get(name)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 10_000 {
		e.fail(name, fmt.Sprintf("must be a number from 1 to 10000, not %q", v))
	}
	return n
}

// tls is nil without encryption.
func (e *env) tls() *tls.Config {
	ca, cert, key := e.get(EnvTLSCA), e.get(EnvTLSCert), e.get(EnvTLSKey)
	on := ca != "" || cert != "" || key != ""
	if v := e.get(EnvTLS); v != "" {
		want, err := strconv.ParseBool(v)
		switch {
		case err != nil:
			e.fail(EnvTLS, fmt.Sprintf("must be true or false, not %q", v))
		case on && !want:
			e.fail(EnvTLS, "is false, but a KAFKA_TLS_…_FILE is set")
		}
		on = want
	}
	if !on {
		return nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		cfg.RootCAs = x509.NewCertPool()
		if pem := e.file(EnvTLSCA, ca); pem != nil && !cfg.RootCAs.AppendCertsFromPEM(pem) {
			e.fail(EnvTLSCA, "names a file without a certificate in PEM form: "+ca)
		}
	}
	switch {
	case cert == "" && key == "":
	case cert == "":
		e.fail(EnvTLSKey, "is set, but "+EnvTLSCert+" is not")
	case key == "":
		e.fail(EnvTLSCert, "is set, but "+EnvTLSKey+" is not")
	default:
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			e.fail(EnvTLSCert+", "+EnvTLSKey, "cannot be used: "+err.Error())
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

// sasl is nil without authentication.
func (e *env) sasl() sasl.Mechanism {
	name, user, password := e.get(EnvSASLMechanism), e.get(EnvSASLUsername), e.password()
	if name == "" {
		if user != "" || password != "" {
			e.fail(EnvSASLMechanism, "must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512: a user name or password is set")
		}
		return nil
	}
	if user == "" {
		e.fail(EnvSASLUsername, "is not set, but "+EnvSASLMechanism+" is")
	}
	if password == "" {
		e.fail(EnvSASLPassword, "is not set, and no "+EnvSASLPasswordFile+", but "+EnvSASLMechanism+" is")
	}
	algorithm := scram.SHA512
	switch strings.ToUpper(name) {
	case "PLAIN":
		return plain.Mechanism{Username: user, Password: password}
	case "SCRAM-SHA-256":
		algorithm = scram.SHA256
	case "SCRAM-SHA-512":
	default:
		e.fail(EnvSASLMechanism, fmt.Sprintf("must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, not %q", name))
		return nil
	}
	m, err := scram.Mechanism(algorithm, user, password)
	if err != nil {
		e.fail(EnvSASLUsername+", "+EnvSASLPassword, "cannot be used: "+err.Error())
	}
	return m
}

func (e *env) password() string {
	password, file := e.get(EnvSASLPassword), e.get(EnvSASLPasswordFile)
	if file == "" {
		return password
	}
	if password != "" {
		e.fail(EnvSASLPasswordFile, "and "+EnvSASLPassword+" are both set")
		return password
	}
	return strings.TrimRight(string(e.file(EnvSASLPasswordFile, file)), "\r\n")
}

func (e *env) file(name, path string) []byte {
	raw, err := os.ReadFile(path)
	if err != nil {
		e.fail(name, "cannot be read: "+err.Error())
	}
	return raw
}
