package deployment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

const (
	startLimit = time.Minute      // for a part to be ready on a busy machine
	stopLimit  = 30 * time.Second // for a replica asked to stop: its grace time and some
)

// processes is a deployment on this machine: one `serve infra` for Postgres, one for the broker, a process
// for each replica and one for the edge. Everything a replica says and hears goes through proxies, so that
// it can be cut off.
type processes struct {
	owner testing.TB
	home  string // of everything but the database
	store string // of the database
	bin   string // of the version to start next

	database string // URLs and addresses that a replica's proxies lead to
	kafka    string
	broker   *kernel.Process
	url, key string

	mu       sync.Mutex
	turn     int
	replicas map[string][]*process
	c        *client.Client
}

// process is one replica.
type process struct {
	*kernel.Process
	service, name   string
	http            string // where it listens
	wire            *wire
	database, kafka *proxy
}

// newProcesses starts one replica of every service.
func newProcesses(t *testing.T, v version) deployment {
	t.Helper()
	d := &processes{
		owner: t, home: kernel.Home(t), store: kernel.Home(t), bin: kernel.Bin(t), replicas: map[string][]*process{},
	}
	if v == previous {
		d.bin = previousBinary(t)
	}
	t.Cleanup(func() { d.report() })
	d.startPostgres(t)
	d.startBroker(t)
	args := []string{"serve", "edge", "--json", "--http", "127.0.0.1:" + kernel.Port(t)}
	for _, n := range kernel.Names() {
		balancer := newProxy(t, func() []way { return d.ways(n) })
		args = append(args, "--upstream", n+"=http://"+balancer.addr)
	}
	d.scale(t, 1)
	ready := kernel.StartBinary(t, d.bin, d.home, "edge", nil, args...).Ready(t, startLimit)
	d.url, _ = ready["url"].(string)
	raw, err := os.ReadFile(filepath.Join(d.home, "api.key"))
	if err != nil {
		t.Fatal(err)
	}
	d.key = strings.TrimSpace(string(raw))
	d.c = newClient(t, d.url, d.key)
	return d
}

// startPostgres runs the private database; its broker is not used.
func (d *processes) startPostgres(t testing.TB) {
	t.Helper()
	kernel.StartBinary(t, d.bin, d.store, "infra", nil, "serve", "infra", "--json", "--partitions", partitions).Ready(t, startLimit)
	raw, err := os.ReadFile(filepath.Join(d.store, "infra.json"))
	if err != nil {
		t.Fatal(err)
	}
	var infra struct {
		DatabaseURL string `json:"database_url"`
	}
	if err := json.Unmarshal(raw, &infra); err != nil {
		t.Fatal(err)
	}
	d.database = infra.DatabaseURL
	// Both folders must know the same passwords of the services' roles.
	if raw, err = os.ReadFile(filepath.Join(d.store, "roles.json")); err == nil {
		err = os.WriteFile(filepath.Join(d.home, "roles.json"), raw, 0o600) //nolint:gosec // the test's own folder
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (d *processes) startBroker(t testing.TB) {
	t.Helper()
	d.broker = kernel.StartBinary(owned{t, d.owner}, d.bin, d.home, "broker", []string{"DATABASE_URL=" + d.database},
		"serve", "infra", "--json", "--partitions", partitions)
	d.kafka, _ = d.broker.Ready(t, startLimit)["url"].(string)
}

// ways are the replicas of a service, another one first each time.
func (d *processes) ways(service string) []way {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.replicas[service]
	out := make([]way, 0, len(all))
	d.turn++
	for i := range all {
		r := all[(i+d.turn)%len(all)]
		out = append(out, way{r.http, r.wire})
	}
	return out
}

func (d *processes) client() *client.Client { return d.c }

func (d *processes) address() (url, key string) { return d.url, d.key }

func (d *processes) replica(t *testing.T, service string, n int) *process {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if n >= len(d.replicas[service]) {
		t.Fatalf("there is no replica %d of %s", n, service)
	}
	return d.replicas[service][n]
}

func (d *processes) scale(t *testing.T, n int) {
	t.Helper()
	var started []*process
	for _, service := range kernel.Names() {
		d.mu.Lock()
		have := d.replicas[service]
		d.replicas[service] = have[:min(n, len(have))]
		d.mu.Unlock()
		for _, r := range have[min(n, len(have)):] {
			d.stop(t, r)
		}
		for i := len(have); i < n; i++ {
			r := d.newReplica(t, service, i)
			d.launch(t, r)
			started = append(started, r)
		}
	}
	for _, r := range started {
		r.Ready(t, startLimit)
		d.mu.Lock()
		d.replicas[r.service] = append(d.replicas[r.service], r)
		d.mu.Unlock()
	}
}

// newReplica is a replica with its proxies, not yet running.
func (d *processes) newReplica(t testing.TB, service string, n int) *process {
	t.Helper()
	r := &process{service: service, name: fmt.Sprintf("%s-%d", service, n), http: "127.0.0.1:" + kernel.Port(t), wire: newWire()}
	u, err := url.Parse(d.database)
	if err != nil {
		t.Fatal(err)
	}
	o := owned{t, d.owner}
	r.database = newProxy(o, func() []way { return []way{{u.Host, r.wire}} })
	r.kafka = newProxy(o, func() []way { return []way{{d.kafka, r.wire}} })
	r.kafka.answers = advertise
	return r
}

// launch starts a replica and does not wait for it.
func (d *processes) launch(t testing.TB, r *process) {
	t.Helper()
	u, err := url.Parse(d.database)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = r.database.addr
	args := append([]string{
		"serve", r.service, "--json", "--http", r.http, "--partitions", partitions,
		"--workspace-root", filepath.Join(d.home, "workspaces"),
	}, kernel.Examples(t)...)
	r.Process = kernel.StartBinary(owned{t, d.owner}, d.bin, d.home, r.name,
		[]string{"DATABASE_URL=" + u.String(), "KAFKA_BROKERS=" + r.kafka.addr}, args...)
}

func (d *processes) stop(t *testing.T, r *process) {
	t.Helper()
	if err := r.Stop(stopLimit); err != nil {
		t.Errorf("%s did not stop well: %v", r.name, err)
	}
}

func (d *processes) kill(t *testing.T, service string, n int) {
	t.Helper()
	d.replica(t, service, n).Kill()
}

func (d *processes) start(t *testing.T, service string, n int) {
	t.Helper()
	r := d.replica(t, service, n)
	d.launch(t, r)
	r.Ready(t, startLimit)
}

func (d *processes) pause(t *testing.T, service string, n int) {
	t.Helper()
	if err := d.replica(t, service, n).Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

func (d *processes) resume(t *testing.T, service string, n int) {
	t.Helper()
	if err := d.replica(t, service, n).Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

func (d *processes) cut(t *testing.T, service string, n int) {
	t.Helper()
	d.replica(t, service, n).wire.cut()
}

func (d *processes) mend(t *testing.T, service string, n int) {
	t.Helper()
	d.replica(t, service, n).wire.mend()
}

func (d *processes) restartKafka(t *testing.T, hard bool) {
	t.Helper()
	if hard {
		d.broker.Kill()
	} else if err := d.broker.Stop(stopLimit); err != nil {
		t.Errorf("the broker did not stop well: %v", err)
	}
	d.startBroker(t)
}

// restartPostgres relies on `serve infra` to start its database again.
func (d *processes) restartPostgres(t *testing.T, hard bool) {
	t.Helper()
	old, err := kernel.Postmaster(d.store)
	if err != nil {
		t.Fatal(err)
	}
	sig := syscall.SIGINT
	if hard {
		sig = syscall.SIGKILL
	}
	if err := syscall.Kill(old, sig); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(startLimit); ; time.Sleep(50 * time.Millisecond) {
		if pid, err := kernel.Postmaster(d.store); err == nil && pid != old {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the database was not started again")
		}
	}
}

func (d *processes) migrate(t *testing.T) {
	t.Helper()
	d.bin = kernel.Bin(t)
	m := kernel.StartBinary(t, d.bin, d.home, "migrate", []string{"DATABASE_URL=" + d.database, "KAFKA_BROKERS=" + d.kafka},
		"migrate", "--json", "--partitions", partitions)
	m.Ready(t, startLimit)
	if err := m.Wait(startLimit); err != nil {
		t.Fatalf("migrate: %v", err)
	}
}

func (d *processes) upgrade(t *testing.T, service string, n int) {
	t.Helper()
	r := d.replica(t, service, n)
	d.stop(t, r)
	d.launch(t, r)
	r.Ready(t, startLimit)
}

// report prints the ends of the logs when the test has failed.
func (d *processes) report() {
	if !d.owner.Failed() {
		return
	}
	for _, dir := range []string{d.store, d.home} {
		logs, _ := filepath.Glob(filepath.Join(dir, "*.log")) // the pattern is good
		for _, name := range logs {
			raw, err := os.ReadFile(name)
			if err != nil || len(raw) == 0 {
				continue
			}
			fmt.Printf("--- %s\n%s\n", filepath.Base(name), tail(raw, 12))
		}
	}
}

// tail is the last lines of a log.
func tail(raw []byte, lines int) []byte {
	all := bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
	return bytes.Join(all[max(0, len(all)-lines):], []byte("\n"))
}
