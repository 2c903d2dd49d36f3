package deployment

import (
	"net/http"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/libs/client"
)

// deployment is a kernel of several replicas with its Kafka and Postgres, and what can befall them. A
// replica is named by its service and its number from 0. What fails ends the test.
type deployment interface {
	// client talks to the kernel through its edge.
	client() *client.Client
	// address is the edge's base URL and the API key.
	address() (url, key string)
	// scale runs n replicas of every service and waits until those that are new are ready.
	scale(t *testing.T, n int)
	// kill ends a replica with SIGKILL.
	kill(t *testing.T, service string, n int)
	// start starts a replica that was killed, and waits until it is ready.
	start(t *testing.T, service string, n int)
	// pause freezes a replica in mid-air; resume lets it go on.
	pause(t *testing.T, service string, n int)
	resume(t *testing.T, service string, n int)
	// cut takes a replica's network away without telling anybody; mend gives it back.
	cut(t *testing.T, service string, n int)
	mend(t *testing.T, service string, n int)
	// restartKafka and restartPostgres return when the server answers again. Hard is SIGKILL.
	restartKafka(t *testing.T, hard bool)
	restartPostgres(t *testing.T, hard bool)
	// migrate makes what the newest version needs in Postgres and Kafka.
	migrate(t *testing.T)
	// upgrade stops a replica as an operator would and starts it in the newest version.
	upgrade(t *testing.T, service string, n int)
}

// version is the kernel a deployment begins with.
type version bool

const (
	newest   version = false // what is in the tree
	previous version = true  // the commit before
)

// partitions of each topic, with which two replicas can share every service.
const partitions = "4"

// headerLimit bounds how long a client waits for the head of an answer: a frozen replica takes
// connections and never answers.
const headerLimit = 5 * time.Second

func newClient(t testing.TB, url, key string) *client.Client {
	t.Helper()
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t.Fatal("the default transport is another one")
	}
	transport = transport.Clone()
	transport.Proxy, transport.ResponseHeaderTimeout = nil, headerLimit
	c, err := client.New(client.Config{URL: url, Key: key, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// owned is a test whose resources live as long as another one.
type owned struct {
	testing.TB
	owner testing.TB
}

// Cleanup implements testing.TB.
func (o owned) Cleanup(f func()) { o.owner.Cleanup(f) }
