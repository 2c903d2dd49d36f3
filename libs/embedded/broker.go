package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const opBroker = "embedded.broker"

// BrokerConfig says where the broker keeps its data and listens.
type BrokerConfig struct {
	// Dir is the data folder, created if missing and locked while the broker runs. Empty: in memory only.
	Dir string
	// Addr is host:port on loopback; default "127.0.0.1:0". Port 0 means a free one below 32768, remembered
	// in Dir and used again by later starts as long as it is free.
	Addr string
	// Advertise is the host:port that clients are told, for a broker that they reach through a proxy.
	// Default: where it listens.
	Advertise string
	// Logger gets the broker's warnings and errors. Default: none.
	Logger *slog.Logger
}

// Broker is a running Kafka-protocol broker: one node, no authentication, loopback only.
type Broker struct {
	cluster *kfake.Cluster
	lock    *fileLock
	addr    string
	once    sync.Once
	err     error
}

// StartBroker starts a broker. Topics are never made on demand: a missing topic is an error to the client.
//
// Errors: Invalid for an address that is not loopback, Unavailable if Dir or the port is in use.
func StartBroker(ctx context.Context, cfg BrokerConfig) (*Broker, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := checkLoopback(cfg.Addr); err != nil {
		return nil, err
	}
	lock, err := lockBrokerDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	b, err := openBroker(ctx, cfg)
	if err != nil {
		return nil, errWith(err, lock.release())
	}
	b.lock = lock
	return b, nil
}

// Addr is host:port the broker listens on.
func (b *Broker) Addr() string { return b.addr }

// Close ends all connections, writes the state out and frees folder and port. Later calls do nothing.
func (b *Broker) Close() error {
	b.once.Do(func() {
		b.cluster.Close()
		b.err = b.lock.release()
	})
	return b.err
}

func openBroker(ctx context.Context, cfg BrokerConfig) (*Broker, error) {
	ln, err := brokerListener(ctx, cfg)
	if err != nil {
		return nil, err
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("agentos"),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return advertised(ln, cfg.Advertise), nil }),
		kfake.GroupMinSessionTimeout(time.Second),
		kfake.WithLogger(brokerLog{cfg.Logger}),
		// kfake never delays a first rebalance; the setting is there so that DescribeConfigs tells the truth.
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}),
	}
	if cfg.Dir != "" {
		opts = append(opts, kfake.DataDir(filepath.Join(cfg.Dir, "data")))
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, errWith(fault.Wrap(fault.Internal, opBroker, "the broker cannot read its data", err).
			WithFix("Move "+cfg.Dir+" away and start again: the bus is rebuilt from Postgres."), ln.Close())
	}
	return &Broker{cluster: c, addr: ln.Addr().String()}, nil
}

// elsewhere is a listener that gives another address than its own.
type elsewhere struct {
	net.Listener
	addr told
}

// Addr is what clients are told.
func (e elsewhere) Addr() net.Addr { return e.addr }

type told string

func (told) Network() string  { return "tcp" }
func (a told) String() string { return string(a) }

func advertised(ln net.Listener, addr string) net.Listener {
	if addr == "" {
		return ln
	}
	return elsewhere{ln, told(addr)}
}

func lockBrokerDir(dir string) (*fileLock, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Internal, opBroker, "cannot create "+dir, err).
			WithFix("Make the folder above it writable for this user.")
	}
	return takeLock(opBroker, filepath.Join(dir, "lock"), "the broker's folder")
}

func checkLoopback(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fault.Wrap(fault.Invalid, opBroker, "the address is not host:port", err).
			WithFix(`Use an address like "127.0.0.1:0".`)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fault.Newf(fault.Invalid, opBroker, "%q is not a port", port).WithFix("Use a number from 0 to 65535.")
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fault.Newf(fault.Invalid, opBroker, "the embedded broker has no authentication and listens on loopback only, not on %q", host).
			WithFix("Use 127.0.0.1, or a real Kafka for more than one machine.")
	}
	return nil
}

// brokerListener opens the port asked for; for port 0 the remembered one, else a new one below 32768.
func brokerListener(ctx context.Context, cfg BrokerConfig) (net.Listener, error) {
	host, port, _ := net.SplitHostPort(cfg.Addr) // checked by checkLoopback
	var lc net.ListenConfig
	if port != "0" {
		ln, err := lc.Listen(ctx, "tcp", cfg.Addr)
		if err != nil {
			return nil, fault.Wrap(fault.Unavailable, opBroker, "cannot listen on "+cfg.Addr, err).
				WithFix("Stop what uses the port, or let the broker choose one with port 0.")
		}
		return ln, nil
	}
	memo := filepath.Join(cfg.Dir, "port")
	if cfg.Dir != "" {
		if b, err := os.ReadFile(memo); err == nil {
			if ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strings.TrimSpace(string(b)))); err == nil {
				return ln, nil
			}
		}
	}
	ln, err := listenLow(ctx, host)
	if err != nil || cfg.Dir == "" {
		return ln, err
	}
	if err := writeFileAtomic(memo, []byte(strconv.Itoa(portOf(ln))+"\n")); err != nil {
		return nil, errWith(fault.Wrap(fault.Internal, opBroker, "cannot remember the port", err), ln.Close())
	}
	return ln, nil
}

// brokerLog hands kfake's warnings and errors to slog.
type brokerLog struct{ log *slog.Logger }

// Logf implements kfake.Logger.
func (l brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("broker", slog.String("detail", fmt.Sprintf(format, args...)))
	case kfake.LogLevelWarn:
		l.log.Warn("broker", slog.String("detail", fmt.Sprintf(format, args...)))
	case kfake.LogLevelNone, kfake.LogLevelInfo, kfake.LogLevelDebug:
	}
}
