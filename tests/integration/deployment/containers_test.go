package deployment

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	docker "github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

const (
	edgePort   = "7433"
	home       = "/var/lib/agentos" // in the kernel's image
	password   = "test"
	kafkaReady = "Kafka Server started"
	// postgresReady is said once more by the server that only makes the cluster.
	postgresReady = "database system is ready to accept connections"
	kernelReady   = `"os_pid":` // the line on standard output
)

// containers is a deployment in an engine: Kafka, Postgres, a container for each replica and one for the
// edge, in a network that leads nowhere. Only the edge is in a second one, for its port on loopback.
type containers struct {
	owner       testing.TB
	engine      *testcontainers.DockerClient
	image       string // of the version to start next
	inner       *testcontainers.DockerNetwork
	outer       *testcontainers.DockerNetwork
	volume      string // the kernel's keys and the recordings
	kafka       *box
	postgres    *box
	replicas    map[string][]*box
	url, apiKey string
	c           *client.Client
}

// box is one container.
type box struct {
	testcontainers.Container

	service, name string
	since         time.Time // of its last start
	aliases       []string
}

// newContainers starts one replica of every service.
func newContainers(t *testing.T, v version) deployment {
	t.Helper()
	engine, err := testcontainers.NewDockerClientWithOpts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	d := &containers{owner: t, engine: engine, image: images(t)["AGENTOS_IMAGE"], replicas: map[string][]*box{}}
	if v == previous {
		d.image = previousImage(t, engine)
	}
	d.networks(t)
	d.servers(t)
	d.keys(t)
	d.job(t, "migrate", "migrate", "--partitions", partitions)
	d.scale(t, 1)
	d.edge(t)
	return d
}

// networks makes both networks and the volume.
func (d *containers) networks(t *testing.T) {
	t.Helper()
	d.inner, d.outer = newNetwork(t, true), newNetwork(t, false)
	v, err := d.engine.VolumeCreate(t.Context(), docker.VolumeCreateOptions{Labels: labels()})
	if err != nil {
		t.Fatal(err)
	}
	d.volume = v.Volume.Name
	t.Cleanup(func() {
		if _, err := d.engine.VolumeRemove(context.WithoutCancel(t.Context()), d.volume, docker.VolumeRemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	})
}

// servers starts Kafka and Postgres and waits for both.
func (d *containers) servers(t *testing.T) {
	t.Helper()
	names := images(t)
	d.kafka = d.run(t, "kafka", testcontainers.ContainerRequest{Image: names["KAFKA_IMAGE"], Env: kafkaEnv()})
	d.postgres = d.run(t, "postgres", testcontainers.ContainerRequest{
		Image: names["POSTGRES_IMAGE"],
		Env:   map[string]string{"POSTGRES_USER": "agentos", "POSTGRES_PASSWORD": password, "POSTGRES_DB": "agentos"},
	})
	d.said(t, d.kafka, kafkaReady, 1)
	d.said(t, d.postgres, postgresReady, 2)
}

func kafkaEnv() map[string]string {
	return map[string]string{
		"KAFKA_NODE_ID": "1", "KAFKA_PROCESS_ROLES": "broker,controller", "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
		"KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093", "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://kafka:9092",
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"KAFKA_CONTROLLER_LISTENER_NAMES":      "CONTROLLER", "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT",
		"KAFKA_LOG_DIRS": "/var/lib/kafka/data", "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1", "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1", "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
		// A broker that was killed may come back at once instead of after 9 s.
		"KAFKA_BROKER_HEARTBEAT_INTERVAL_MS": "500", "KAFKA_BROKER_SESSION_TIMEOUT_MS": "2000",
		"KAFKA_HEAP_OPTS": "-Xms64m -Xmx512m",
	}
}

// keys makes the kernel's keys in the volume, lays the recordings beside them and learns the API key.
func (d *containers) keys(t *testing.T) {
	t.Helper()
	d.job(t, "keys", "keys")
	raw, err := os.ReadFile(filepath.Join(kernel.Root(t), "examples", "airline", "airline.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	// The engine copies into no container whose files are read-only, the volume included.
	b := d.run(t, "key", testcontainers.ContainerRequest{Image: d.image, Cmd: []string{"keys", "api"}, HostConfigModifier: d.mounted})
	d.ended(t, b)
	if err := b.CopyToContainer(t.Context(), raw, home+"/cassettes/airline.jsonl.gz", 0o644); err != nil {
		t.Fatal(err)
	}
	d.apiKey = strings.TrimSpace(d.log(t.Context(), b, docker.ContainerLogsOptions{ShowStdout: true}))
}

// job runs a verb of the kernel to its end.
func (d *containers) job(t *testing.T, name string, args ...string) {
	t.Helper()
	d.ended(t, d.kernel(t, name, args...))
}

// ended waits until a container has ended well.
func (d *containers) ended(t *testing.T, b *box) {
	t.Helper()
	for deadline := time.Now().Add(startLimit); ; time.Sleep(50 * time.Millisecond) {
		state, err := b.State(t.Context())
		switch {
		case err != nil:
			t.Fatal(err)
		case state.Status == "exited" && state.ExitCode == 0:
			return
		case state.Status == "exited", time.Now().After(deadline):
			t.Fatalf("%s: %s with %d\n%s", b.name, state.Status, state.ExitCode, d.log(t.Context(), b, allLogs("")))
		}
	}
}

// kernel runs the kernel's image as an operator would: nothing in it can be written but the volume.
func (d *containers) kernel(t *testing.T, name string, args ...string) *box {
	t.Helper()
	return d.run(t, name, testcontainers.ContainerRequest{
		Image: d.image, Cmd: args,
		Env: map[string]string{
			"DATABASE_URL":  "postgres://agentos:" + password + "@postgres:5432/agentos?sslmode=disable",
			"KAFKA_BROKERS": "kafka:9092",
		},
		HostConfigModifier: func(h *container.HostConfig) {
			d.mounted(h)
			h.ReadonlyRootfs, h.CapDrop = true, []string{"ALL"}
		},
	})
}

func (d *containers) mounted(h *container.HostConfig) { h.Binds = []string{d.volume + ":" + home} }

// run creates and starts a container in the inner network and does not wait for it.
func (d *containers) run(t *testing.T, name string, req testcontainers.ContainerRequest) *box {
	t.Helper()
	service, _, _ := strings.Cut(name, ".")
	b := &box{service: service, name: name, aliases: []string{service}}
	req.Networks = append([]string{d.inner.Name}, req.Networks...)
	req.NetworkAliases = map[string][]string{d.inner.Name: b.aliases}
	req.Labels = labels()
	b.since = time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), startLimit)
	defer cancel()
	var err error
	b.Container, err = testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{ContainerRequest: req, Started: true})
	d.owner.Cleanup(func() { d.drop(b) })
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	return b
}

// drop prints the end of a container's log if the test has failed, and removes it.
func (d *containers) drop(b *box) {
	if b.Container == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if d.owner.Failed() {
		fmt.Printf("--- %s\n%s\n", b.name, d.log(ctx, b, allLogs("12")))
	}
	if _, err := d.engine.ContainerRemove(ctx, b.GetContainerID(), docker.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
		d.owner.Errorf("remove %s: %v", b.name, err)
	}
	b.Container = nil
}

func allLogs(tail string) docker.ContainerLogsOptions {
	return docker.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: tail}
}

// log is what a container has written; what cannot be read is missing from it.
func (d *containers) log(ctx context.Context, b *box, o docker.ContainerLogsOptions) string {
	r, err := d.engine.ContainerLogs(ctx, b.GetContainerID(), o)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = r.Close() }()
	return text(r)
}

// text is a log without the eight bytes that the engine puts before each piece.
func text(r io.Reader) string {
	var out strings.Builder
	var head [8]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return out.String()
		}
		size := int64(head[4])<<24 | int64(head[5])<<16 | int64(head[6])<<8 | int64(head[7])
		if _, err := io.CopyN(&out, r, size); err != nil {
			return out.String()
		}
	}
}

// said waits until a container has written a text n times since its last start.
func (d *containers) said(t *testing.T, b *box, what string, n int) {
	t.Helper()
	o := allLogs("")
	o.Since = strconv.FormatFloat(float64(b.since.UnixMilli())/1000, 'f', 3, 64)
	for deadline := time.Now().Add(startLimit); strings.Count(d.log(t.Context(), b, o), what) < n; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not say %q within %s", b.name, what, startLimit)
		}
	}
}

// edge gives the kernel its address: a port of loopback.
func (d *containers) edge(t *testing.T) {
	t.Helper()
	port, err := embedded.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"serve", "edge", "--json", "--http", "0.0.0.0:" + edgePort}
	for _, n := range kernel.Names() {
		args = append(args, "--upstream", n+"=http://"+n+":"+edgePort)
	}
	b := d.run(t, "edge", testcontainers.ContainerRequest{
		Image: d.image, Cmd: args, Networks: []string{d.outer.Name}, ExposedPorts: []string{edgePort + "/tcp"},
		HostConfigModifier: func(h *container.HostConfig) {
			h.PortBindings = network.PortMap{network.MustParsePort(edgePort + "/tcp"): []network.PortBinding{
				{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(port)},
			}}
			h.ReadonlyRootfs, h.CapDrop = true, []string{"ALL"}
		},
	})
	d.said(t, b, kernelReady, 1)
	d.url = "http://127.0.0.1:" + strconv.Itoa(port)
	d.c = newClient(t, d.url, d.apiKey)
	kernel.AwaitReady(t, d.url, startLimit)
}

func (d *containers) client() *client.Client { return d.c }

func (d *containers) address() (url, key string) { return d.url, d.apiKey }

func (d *containers) scale(t *testing.T, n int) {
	t.Helper()
	var started []*box
	for _, service := range kernel.Names() {
		for i := len(d.replicas[service]); i < n; i++ {
			b := d.replica(t, service, i)
			d.replicas[service] = append(d.replicas[service], b)
			started = append(started, b)
		}
		for i := len(d.replicas[service]); i > n; i-- {
			b := d.replicas[service][i-1]
			d.stop(t, b)
			d.drop(b)
			d.replicas[service] = d.replicas[service][:i-1]
		}
	}
	for _, b := range started {
		d.said(t, b, kernelReady, 1)
	}
}

// replica starts a replica and does not wait for it.
func (d *containers) replica(t *testing.T, service string, n int) *box {
	t.Helper()
	return d.kernel(t, fmt.Sprintf("%s.%d", service, n), "serve", service, "--json", "--http", "0.0.0.0:"+edgePort,
		"--partitions", partitions, "--cassettes", home+"/cassettes")
}

func (d *containers) stop(t *testing.T, b *box) {
	t.Helper()
	limit := stopLimit
	if err := b.Stop(t.Context(), &limit); err != nil {
		t.Fatal(err)
	}
	if state, err := b.State(t.Context()); err != nil || state.ExitCode != 0 {
		t.Errorf("%s did not stop well: %+v, %v", b.name, state, err)
	}
}

func (d *containers) kill(t *testing.T, service string, n int) {
	t.Helper()
	d.killBox(t, d.replicas[service][n])
}

// killBox sends SIGKILL and waits for the end.
func (d *containers) killBox(t *testing.T, b *box) {
	t.Helper()
	if _, err := d.engine.ContainerKill(t.Context(), b.GetContainerID(), docker.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(stopLimit); ; time.Sleep(20 * time.Millisecond) {
		state, err := b.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !state.Running {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s lives on after SIGKILL", b.name)
		}
	}
}

func (d *containers) start(t *testing.T, service string, n int) {
	t.Helper()
	d.startBox(t, d.replicas[service][n], kernelReady)
}

// startBox starts a container that has ended, and waits until it says that it is ready.
func (d *containers) startBox(t *testing.T, b *box, ready string) {
	t.Helper()
	b.since = time.Now()
	if _, err := d.engine.ContainerStart(t.Context(), b.GetContainerID(), docker.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	d.said(t, b, ready, 1)
}

func (d *containers) pause(t *testing.T, service string, n int) {
	t.Helper()
	if _, err := d.engine.ContainerPause(t.Context(), d.replicas[service][n].GetContainerID(), docker.ContainerPauseOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (d *containers) resume(t *testing.T, service string, n int) {
	t.Helper()
	if _, err := d.engine.ContainerUnpause(t.Context(), d.replicas[service][n].GetContainerID(), docker.ContainerUnpauseOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (d *containers) cut(t *testing.T, service string, n int) {
	t.Helper()
	_, err := d.engine.NetworkDisconnect(t.Context(), d.inner.ID, docker.NetworkDisconnectOptions{
		Container: d.replicas[service][n].GetContainerID(), Force: true,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (d *containers) mend(t *testing.T, service string, n int) {
	t.Helper()
	b := d.replicas[service][n]
	_, err := d.engine.NetworkConnect(t.Context(), d.inner.ID, docker.NetworkConnectOptions{
		Container: b.GetContainerID(), EndpointConfig: &network.EndpointSettings{Aliases: b.aliases},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (d *containers) restartKafka(t *testing.T, hard bool) {
	t.Helper()
	d.restart(t, d.kafka, hard, kafkaReady)
}

func (d *containers) restartPostgres(t *testing.T, hard bool) {
	t.Helper()
	d.restart(t, d.postgres, hard, postgresReady)
}

func (d *containers) restart(t *testing.T, b *box, hard bool, ready string) {
	t.Helper()
	if hard {
		d.killBox(t, b)
	} else {
		limit := stopLimit
		if err := b.Stop(t.Context(), &limit); err != nil {
			t.Fatal(err)
		}
	}
	d.startBox(t, b, ready)
}

func (d *containers) migrate(t *testing.T) {
	t.Helper()
	d.image = images(t)["AGENTOS_IMAGE"]
	d.job(t, "migrate", "migrate", "--partitions", partitions)
}

func (d *containers) upgrade(t *testing.T, service string, n int) {
	t.Helper()
	old := d.replicas[service][n]
	d.stop(t, old)
	d.drop(old)
	d.replicas[service][n] = d.replica(t, service, n)
	d.said(t, d.replicas[service][n], kernelReady, 1)
}
