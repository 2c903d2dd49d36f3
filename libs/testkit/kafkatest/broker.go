package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// The versions we promise to work with: the newest of both lines.
const (
	Newest4 = "4.4.0"
	Newest3 = "3.9.2"
)

// Config says which broker to run.
type Config struct {
	Version string // default Newest4
	Dir     string // folder for settings, log and data; made if missing
	// Secure adds a listener with TLS and one without that both want a user name and password.
	Secure bool
	// KafkaTimes leaves the times after which the controller gives up a broker, and a group its first
	// wait for members, as Kafka ships them: a broker killed with -9 is then away for up to 14 s.
	KafkaTimes bool
	// Properties are further lines of server.properties.
	Properties map[string]string
}

// Broker is one Kafka node. Its methods are for one goroutine.
type Broker struct {
	cfg        Config
	classes    string
	ports      ports
	properties string
	tls        *authority
	cmd        *exec.Cmd
	ended      chan struct{} // closed when cmd has ended
}

type ports struct{ plain, controller, tls, password int }

// New fetches the jars if they are not there and formats an empty data folder.
//
// Errors: Unavailable without java or mvn.
func New(ctx context.Context, cfg Config) (*Broker, error) {
	if cfg.Version == "" {
		cfg.Version = Newest4
	}
	lib, err := jars(ctx, cfg.Version)
	if err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, classes: filepath.Join(lib, "*")}
	for _, p := range []*int{&b.ports.plain, &b.ports.controller, &b.ports.tls, &b.ports.password} {
		if *p, err = embedded.FreePort(); err != nil { //nolint:contextcheck // it does not wait
			return nil, err
		}
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Invalid, op, "cannot make the broker's folder", err)
	}
	if cfg.Secure {
		if b.tls, err = newAuthority(cfg.Dir); err != nil {
			return nil, err
		}
	}
	b.properties = filepath.Join(cfg.Dir, "server.properties")
	if err := os.WriteFile(b.properties, []byte(b.settings()), 0o600); err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, "cannot write the broker's settings", err)
	}
	return b, b.format(ctx)
}

// Addr is host:port of the listener without encryption or password.
func (b *Broker) Addr() string { return loopback(b.ports.plain) }

// Bus is how to reach that listener.
func (b *Broker) Bus() bus.Config { return bus.Config{Brokers: []string{b.Addr()}} }

// LogFile is what the broker has to say.
func (b *Broker) LogFile() string { return filepath.Join(b.cfg.Dir, "kafka.log") }

func (b *Broker) data() string { return filepath.Join(b.cfg.Dir, "data") }

// startLimit is long: other work may share the machine.
const startLimit = 3 * time.Minute

// Start starts the broker and waits until it takes connections; it may still be getting its bearings then.
func (b *Broker) Start(ctx context.Context) error {
	log, err := os.OpenFile(b.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.Wrap(fault.Unavailable, op, "cannot open the broker's log", err)
	}
	defer func() { _ = log.Close() }()                                                                                     // the broker has its own descriptor
	b.cmd = exec.Command("java", "-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", b.classes, "kafka.Kafka", b.properties) //nolint:gosec,noctx // our own arguments; ended by Kill or Stop
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := b.cmd.Start(); err != nil {
		return fault.Wrap(fault.Unavailable, op, "cannot start Kafka", err)
	}
	cmd, ended := b.cmd, make(chan struct{})
	b.ended = ended
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its log says why it ended
	}()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		if listens(ctx, b.Addr()) {
			return nil
		}
		select {
		case <-ended:
			return fault.New(fault.Unavailable, op, "Kafka ended instead of listening: "+b.lastWords())
		case <-ctx.Done():
			b.Kill()
			return fault.Wrap(fault.Unavailable, op, "Kafka does not listen on "+b.Addr(), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func listens(ctx context.Context, addr string) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	_ = conn.Close() // it was only asked whether somebody listens
	return true
}

// Signal sends a signal, to freeze the broker for instance.
func (b *Broker) Signal(sig syscall.Signal) error {
	if b.cmd == nil {
		return os.ErrProcessDone
	}
	return b.cmd.Process.Signal(sig)
}

// Kill ends the broker with SIGKILL and waits for its end. Killing what does not run is fine.
func (b *Broker) Kill() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Kill() // it may have ended
	<-b.ended
	b.cmd = nil
}

// Stop ends the broker the way its operators do.
func (b *Broker) Stop() error {
	if b.cmd == nil {
		return nil
	}
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-b.ended:
		b.cmd = nil
		return nil
	case <-time.After(startLimit):
		b.Kill()
		return fault.New(fault.Unavailable, op, "Kafka did not stop when asked to")
	}
}

// DropNewestSegments removes the newest segment of every partition of the topics that match the pattern, as
// a disk does that lost what was not synchronised. The broker must not run. It returns how many of them
// were not empty.
func (b *Broker) DropNewestSegments(pattern string) (dropped int, err error) {
	if b.cmd != nil {
		return 0, fault.New(fault.Invalid, op, "the broker runs")
	}
	folders, err := filepath.Glob(filepath.Join(b.data(), pattern+"-[0-9]*"))
	if err != nil {
		return 0, err
	}
	for _, dir := range folders {
		n, err := dropNewest(dir)
		if err != nil {
			return dropped, err
		}
		dropped += n
	}
	return dropped, nil
}

// dropNewest removes the segment with the highest offset; names are offsets with leading zeros.
func dropNewest(dir string) (int, error) {
	segments, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(segments) == 0 {
		return 0, err
	}
	newest := segments[len(segments)-1] // Glob sorts
	info, err := os.Stat(newest)
	if err != nil {
		return 0, err
	}
	files, err := filepath.Glob(newest[:len(newest)-len("log")] + "*")
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			return 0, err
		}
	}
	if info.Size() == 0 {
		return 0, nil
	}
	return 1, nil
}

func (b *Broker) lastWords() string {
	raw, err := os.ReadFile(b.LogFile())
	if err != nil {
		return err.Error()
	}
	const much = 1500
	return string(raw[max(0, len(raw)-much):])
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func run(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil { //nolint:gosec // our own arguments
		return fault.Wrap(fault.Unavailable, op, fmt.Sprintf("%s failed: %s", name, out), err).
			WithFix("install java 17 and maven (Debian: apt-get install openjdk-17-jre-headless maven)")
	}
	return nil
}
