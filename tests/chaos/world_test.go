package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/testkit/kafkatest"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

const readyLimit = 90 * time.Second

// world is the kernel under test: `serve infra`, and each service in so many processes of its own. The
// services have a data folder of their own, so that they can be told another way to the broker and the
// database than infra's.
type world struct {
	t        *testing.T
	home     string // of infra
	services string // data folder of the services
	roots    string
	replicas int
	env      []string
	db       *pgxpool.Pool // the owner's, for the checker
	brokers  []string
	net      *network          // nil: the services reach infra without a detour
	disks    disks             // nil: the data lies where everything lies
	apache   *kafkatest.Broker // nil: the embedded broker

	infra *guarded
	procs map[string]*guarded // by "service-replica"
	ports map[string]string
}

// guarded is a process with a supervisor, who starts it again when it ends.
type guarded struct {
	start func() *kernel.Process
	mu    sync.Mutex
	p     *kernel.Process
	off   bool // it shall not run
	exits int  // ends that nobody asked for
	ended chan struct{}
}

func guard(start func() *kernel.Process) *guarded {
	g := &guarded{start: start, p: start(), ended: make(chan struct{})}
	go func() {
		defer close(g.ended)
		for p := g.process(); p != nil; p = g.again(p) {
			<-p.Done()
		}
	}()
	return g
}

func (g *guarded) process() *kernel.Process {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.p
}

// again starts the process after its end, unless somebody else has done so.
func (g *guarded) again(old *kernel.Process) *kernel.Process {
	time.Sleep(50 * time.Millisecond)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.off {
		return nil
	}
	if g.p == old {
		g.exits++
		g.p = g.start()
	}
	return g.p
}

// kill ends the process with SIGKILL and starts another.
func (g *guarded) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.p.Kill()
	g.p = g.start()
}

// hang stops the process for some time.
func (g *guarded) hang(hold time.Duration) error {
	p := g.process()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(hold)
	return p.Signal(syscall.SIGCONT)
}

// stop ends the process for good.
func (g *guarded) stop(limit time.Duration) error {
	g.mu.Lock()
	g.off = true
	p := g.p
	g.mu.Unlock()
	err := p.Stop(limit)
	<-g.ended
	return err
}

func newWorld(t *testing.T, k kind, replicas int, env []string) *world {
	t.Helper()
	home := kernel.Home(t)
	w := &world{
		t: t, home: home, services: filepath.Join(home, "services"), roots: filepath.Join(home, "workspaces"), replicas: replicas,
		env: env, procs: map[string]*guarded{}, ports: map[string]string{},
	}
	if err := os.Mkdir(w.services, 0o700); err != nil {
		t.Fatal(err)
	}
	if k.disks {
		w.disks = newDisks(t, home)
	}
	var infraEnv []string
	if k.network {
		w.net = newNetwork(t, home)
		infraEnv = []string{"KAFKA_BROKERS=" + w.net.broker.Addr(), "KAFKA_PARTITIONS=4"}
	}
	if *realKafka {
		w.apache = kafkatest.Start(t, kafkatest.Config{Dir: filepath.Join(home, "kafka")})
		infraEnv = []string{"KAFKA_BROKERS=" + w.apache.Addr()}
	}
	w.infra = guard(func() *kernel.Process { return kernel.Start(t, home, "infra", infraEnv, "serve", "infra", "--json") })
	w.infra.process().Ready(t, readyLimit)
	w.connect()
	for _, n := range kernel.Names() {
		for r := range replicas {
			w.serve(n, r)
		}
	}
	for _, g := range w.procs {
		g.process().Ready(t, readyLimit)
	}
	return w
}

// connect reads how infra is reached and tells the services.
func (w *world) connect() {
	w.t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.home, "infra.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	var infra map[string]any
	if err := json.Unmarshal(raw, &infra); err != nil {
		w.t.Fatal(err)
	}
	url, _ := infra["database_url"].(string)
	for _, b := range infra["brokers"].([]any) { //nolint:forcetypeassert // our own file
		w.brokers = append(w.brokers, fmt.Sprint(b))
	}
	if w.net != nil {
		infra["brokers"], infra["embedded"] = []string{w.net.kafka.Listen}, true
		infra["database_url"] = w.net.proxyPostgres(w.t, url)
	}
	if raw, err = json.Marshal(infra); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.services, "infra.json"), raw, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if w.db, err = pgxpool.New(w.t.Context(), url); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.db.Close)
}

func replicaName(service string, replica int) string {
	return fmt.Sprintf("%s-%d", service, replica+1)
}

// serve starts one replica of a service under a supervisor.
func (w *world) serve(service string, replica int) *guarded {
	w.t.Helper()
	name := replicaName(service, replica)
	if w.ports[name] == "" {
		w.ports[name] = kernel.Port(w.t)
	}
	g := guard(func() *kernel.Process {
		return kernel.Start(w.t, w.services, name, w.env, "serve", service, "--json",
			"--http", "127.0.0.1:"+w.ports[name], "--workspace-root", w.roots)
	})
	w.procs[name] = g
	return g
}

// clients talk to each replica of a service.
func (w *world) clients(service string) []*client.Client {
	w.t.Helper()
	var all []*client.Client
	for r := range w.replicas {
		all = append(all, kernel.Client(w.t, w.services, "http://127.0.0.1:"+w.ports[replicaName(service, r)]))
	}
	return all
}

// postmaster is the process id of the database server.
func (w *world) postmaster(ctx context.Context) (pid int, err error) {
	err = w.db.QueryRow(ctx, `SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int`).Scan(&pid)
	return pid, err
}

// exits says who ended unasked, and how often.
func (w *world) exits() map[string]int {
	all := map[string]int{}
	for name, g := range w.procs {
		g.mu.Lock()
		if g.exits > 0 {
			all[name] = g.exits
		}
		g.mu.Unlock()
	}
	if w.infra.exits > 0 {
		all[victimInfra] = w.infra.exits
	}
	return all
}

// close ends everything, whatever state it is in.
func (w *world) close() {
	for _, g := range w.procs {
		g.mu.Lock()
		g.off = true
		g.p.Kill()
		g.mu.Unlock()
		<-g.ended
	}
	if err := w.infra.stop(30 * time.Second); err != nil {
		w.t.Errorf("infra does not stop in order: %v", err)
	}
}

// stopServices ends all services in order.
func (w *world) stopServices() {
	w.t.Helper()
	var wg sync.WaitGroup
	for name, g := range w.procs {
		wg.Go(func() {
			if err := g.stop(30 * time.Second); err != nil {
				w.t.Errorf("%s does not stop in order: %v", name, err)
			}
		})
	}
	wg.Wait()
}
