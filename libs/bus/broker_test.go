package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/agentos-kernel/agentos/libs/bus"
)

// The test binary is its own helper: a broker in a process that can be killed.
const (
	envMode  = "BUS_TEST_MODE" // "broker"
	envDir   = "BUS_TEST_DIR"
	envPort  = "BUS_TEST_PORT"
	envOwner = "BUS_TEST_OWNER" // pid of the test; a broker ends with it
)

func TestMain(m *testing.M) {
	switch os.Getenv(envMode) {
	case "broker":
		serveBroker()
	default:
		// What the suite itself leaves behind: senders nobody reads from, and a receiver nobody ends.
		// And the embedded broker's reads, which end a little after it. None of kafka-go's goroutines may be left.
		const multiplier = "github.com/ThreeDotsLabs/watermill/internal/subscriber.(*multiplier).Subscribe."
		goleak.VerifyTestMain(m,
			goleak.IgnoreAnyFunction(multiplier+"func2"), goleak.IgnoreAnyFunction(multiplier+"func3"),
			goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/pubsub/tests.TestReconnect.func2"),
			goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).read.func1"))
	}
}

func brokerOptions(port int, dir string) []kfake.Opt {
	return []kfake.Opt{
		kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(dir),
		kfake.GroupMinSessionTimeout(time.Second),
	}
}

// freePort is a free port below the kernel's range for outgoing connections, so that nothing takes
// it while the broker restarts.
func freePort() int {
	for {
		port := 20000 + rand.IntN(12000) //nolint:gosec // no secret
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
}

// startBroker runs a broker in this process.
func startBroker(tb testing.TB) bus.Config {
	tb.Helper()
	cfg, _ := startCluster(tb)
	return cfg
}

func startCluster(tb testing.TB) (bus.Config, *kfake.Cluster) {
	tb.Helper()
	port := freePort()
	c, err := kfake.NewCluster(brokerOptions(port, tb.TempDir())...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return testConfig(tb, port), c
}

func testConfig(tb testing.TB, port int) bus.Config {
	tb.Helper()
	cfg := bus.Config{
		Brokers:        []string{fmt.Sprintf("127.0.0.1:%d", port)},
		SessionTimeout: 2 * time.Second, RebalanceTimeout: 3 * time.Second,
	}
	if os.Getenv("BUS_TEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("test", tb.Name())
	}
	return cfg
}

// process is a broker in a process of its own.
type process struct {
	dir  string
	port int
}

func startProcess(t *testing.T) *process {
	t.Helper()
	p := &process{dir: t.TempDir(), port: freePort()}
	p.start(t)
	t.Cleanup(func() { p.kill(t) })
	return p
}

func (p *process) env() []string {
	return []string{
		envMode + "=broker", envDir + "=" + p.dir, envPort + "=" + strconv.Itoa(p.port), envOwner + "=" + strconv.Itoa(os.Getpid()),
	}
}

func (p *process) start(t *testing.T) {
	t.Helper()
	if err := p.spawn(); err != nil {
		t.Fatal(err)
	}
}

// spawn starts the broker and waits until it listens.
func (p *process) spawn() error {
	cmd := exec.CommandContext(context.Background(), os.Args[0]) //nolint:gosec // it is this binary
	cmd.Env = append(os.Environ(), p.env()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // reaps it; it ends by SIGKILL
	for range 500 {
		c, err := new(net.Dialer).DialContext(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
		if err == nil {
			return c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("broker does not listen on port %d", p.port)
}

// kill ends the broker with SIGKILL and waits until it is gone.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.killNow(); err != nil {
		t.Error(err)
	}
}

func (p *process) killNow() error {
	data, err := os.ReadFile(filepath.Join(p.dir, "pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		return err
	}
	_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone already
	for range 500 {
		c, err := new(net.Dialer).DialContext(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
		if err != nil {
			return nil //nolint:nilerr // it is gone
		}
		_ = c.Close()
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("broker %d does not go away", pid)
}

func serveBroker() {
	port, err := strconv.Atoi(os.Getenv(envPort))
	if err != nil {
		panic(err)
	}
	p := &process{dir: os.Getenv(envDir), port: port}
	owner, err := strconv.Atoi(os.Getenv(envOwner))
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "pid"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil { //nolint:gosec // the test names the folder
		panic(err)
	}
	if _, err := kfake.NewCluster(brokerOptions(p.port, filepath.Join(p.dir, "data"))...); err != nil {
		panic(err)
	}
	for syscall.Kill(owner, 0) == nil {
		time.Sleep(500 * time.Millisecond)
	}
}

// ensure creates topics with n partitions.
func ensure(tb testing.TB, cfg bus.Config, n int, topics ...string) {
	tb.Helper()
	var specs []bus.TopicSpec
	for _, name := range topics {
		specs = append(specs, bus.TopicSpec{Name: name, Partitions: n})
	}
	if err := bus.EnsureTopics(context.Background(), cfg, specs); err != nil {
		tb.Fatal(err)
	}
}
