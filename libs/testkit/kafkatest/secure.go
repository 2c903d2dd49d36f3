package kafkatest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// The one user of a broker with Config.Secure.
const (
	User     = "kernel"
	Password = "open-sesame" // of a broker that lives as long as a test
)

// TLSAddr is host:port of the listener with TLS and password (SASL_SSL).
func (b *Broker) TLSAddr() string { return loopback(b.ports.tls) }

// PasswordAddr is host:port of the listener with a password but without TLS (SASL_PLAINTEXT).
func (b *Broker) PasswordAddr() string { return loopback(b.ports.password) }

// CAFile is the authority that signed the broker's certificate.
func (b *Broker) CAFile() string { return b.tls.ca }

// ClientCert is the certificate that the TLS listener wants of its clients, and its key.
func (b *Broker) ClientCert() (cert, key string) { return b.tls.client + ".pem", b.tls.client + ".key" }

func (b *Broker) secureSettings(p map[string]string) map[string]string {
	const plain = `org.apache.kafka.common.security.plain.PlainLoginModule required user_` + User + `="` + Password + `";`
	const scram = `org.apache.kafka.common.security.scram.ScramLoginModule required;`
	listeners := fmt.Sprintf(",SASL_SSL://%s,SASL_PLAINTEXT://%s", b.TLSAddr(), b.PasswordAddr())
	out := map[string]string{
		"listeners":               p["listeners"] + listeners,
		"advertised.listeners":    p["advertised.listeners"] + listeners,
		"ssl.keystore.type":       "PEM",
		"ssl.keystore.location":   b.tls.server,
		"ssl.truststore.type":     "PEM",
		"ssl.truststore.location": b.tls.ca,
		// On a listener with passwords Kafka heeds it only with the listener's name.
		"listener.name.sasl_ssl.ssl.client.auth": "required",
	}
	for _, l := range []string{"sasl_ssl", "sasl_plaintext"} {
		name := "listener.name." + l + "."
		out[name+"sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
		out[name+"plain.sasl.jaas.config"] = plain
		out[name+"scram-sha-256.sasl.jaas.config"] = scram
		out[name+"scram-sha-512.sasl.jaas.config"] = scram
	}
	return out
}

// authority signs the certificates of one broker and its clients. The fields are files.
type authority struct {
	ca     string
	server string // key and certificate in one file, as Kafka wants it
	client string // without its ending: .pem and .key

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(dir string) (*authority, error) {
	a := &authority{
		ca: filepath.Join(dir, "ca.pem"), server: filepath.Join(dir, "server.pem"), client: filepath.Join(dir, "client"),
	}
	ca, _, err := a.sign("kafkatest authority")
	if err != nil {
		return nil, err
	}
	cert, key, err := a.sign("localhost")
	if err != nil {
		return nil, err
	}
	clientCert, clientKey, err := a.sign("kernel")
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{
		a.ca: ca, a.server: append(key, cert...), a.client + ".pem": clientCert, a.client + ".key": clientKey,
	} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return nil, fault.Wrap(fault.Unavailable, op, "cannot write a certificate", err)
		}
	}
	return a, nil
}

// sign makes a certificate and its key in PEM form. The first is the authority's own.
func (a *authority) sign(name string) (cert, key []byte, err error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Internal, op, "cannot make a key", err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, nil, fault.Wrap(fault.Internal, op, "cannot draw a serial number", err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
		IsCA: a.cert == nil, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, own
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &own.PublicKey, signer)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Internal, op, "cannot sign a certificate", err)
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			return nil, nil, fault.Wrap(fault.Internal, op, "cannot read a certificate", err)
		}
		a.key = own
	}
	raw, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Internal, op, "cannot write a key", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}
