package embedded

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// PostgresConfig says which server to use and where a private one lives.
type PostgresConfig struct {
	// Home is the absolute folder of the private cluster, created if missing. Ignored with DatabaseURL.
	Home string
	// DatabaseURL is a postgres:// URL of a server of yours; then nothing is started. The role in it must be
	// able to create databases, roles and extensions.
	DatabaseURL string
	// Volatile turns fsync off: faster, and a crash of the machine loses the cluster. For tests.
	Volatile bool
	// Offline forbids downloads: what is not in the cache is an error.
	Offline bool
	// Logger gets what operators should see. Default: none.
	Logger *slog.Logger
	// Progress gets one line for the user about each long step. Default: none.
	Progress func(line string)
}

func (c PostgresConfig) withDefaults() PostgresConfig {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c PostgresConfig) progress(line string) {
	if c.Progress != nil {
		c.Progress(line)
	}
}

// Postgres is a running server.
type Postgres struct {
	cfg      PostgresConfig
	lay      layout
	bin      binaries
	adminURL string
	database string
	source   string
	vector   string
	adopted  bool

	lock      *fileLock
	mu        sync.Mutex
	srv       *server            // nil for a server of the user's
	endWatch  context.CancelFunc // ends the watcher before a stop
	watchDone chan struct{}
	done      chan struct{} // closed when the server is down for good
	downErr   error         // why; read after done
	stopOnce  sync.Once
	stopErr   error
}

// StartPostgres gives a server with pgvector, as the package comment describes. ctx bounds the start only.
//
// Errors: Unavailable if another program uses Home (the message names its process id), if no server can be had, or
// if its pgvector does not run on this processor; Invalid for a bad configuration. Each tells a fix.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	cfg = cfg.withDefaults()
	if cfg.DatabaseURL != "" {
		return useServer(ctx, cfg)
	}
	lay, err := layOut(cfg.Home)
	if err != nil {
		return nil, err
	}
	lock, err := takeLock(opServer, lay.lockFile(), "the data folder")
	if err != nil {
		return nil, err
	}
	p := &Postgres{cfg: cfg, lay: lay, lock: lock, database: defaultDatabase, done: make(chan struct{})}
	if err := p.start(ctx); err != nil {
		return nil, errWith(err, lock.release())
	}
	p.watch(ctx)
	return p, nil
}

// AdminURL is the superuser's connection URL for a database; "" means the default one, "agentos" or the one
// DatabaseURL names.
func (p *Postgres) AdminURL(database string) string {
	if database == "" {
		database = p.database
	}
	return withDatabase(p.adminURL, database)
}

// PID is the postmaster's process id, 0 for a server of the user's. It changes when a server that died is
// started again.
func (p *Postgres) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.srv == nil {
		return 0
	}
	return p.srv.pid
}

// Source tells where the server comes from: SourceURL, SourceSystem or SourceWheel.
func (p *Postgres) Source() string { return p.source }

// ServerVersion is the server's version, such as "18.6".
func (p *Postgres) ServerVersion() string { return p.bin.version }

// VectorVersion is the version of pgvector in the default database.
func (p *Postgres) VectorVersion() string { return p.vector }

// HNSWSafe reports whether pgvector's HNSW indexes may be used: 0.8.6 ended a row of corruptions. Else search
// exactly.
func (p *Postgres) HNSWSafe() bool { return olderOrEqual(safeHNSW, p.vector) }

// Adopted reports whether the server was left running by a program that died.
func (p *Postgres) Adopted() bool { return p.adopted }

// Done is closed when the server is down for good: after Stop, or when it died and does not start again.
func (p *Postgres) Done() <-chan struct{} { return p.done }

// DownErr is, after Done, why the server is down: nil after Stop.
func (p *Postgres) DownErr() error { return p.downErr }

// Stop shuts a private server down in order and frees Home; when ctx ends first it is stopped hard, and recovers at
// the next start. A server of the user's is left alone. Later calls return the first one's error.
func (p *Postgres) Stop(ctx context.Context) error {
	p.stopOnce.Do(func() {
		if p.endWatch != nil {
			p.endWatch()
			<-p.watchDone
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.srv != nil {
			p.stopErr = p.srv.stop(ctx)
		}
		select {
		case <-p.done:
		default:
			close(p.done)
		}
		p.stopErr = errWith(p.stopErr, p.lock.release())
	})
	return p.stopErr
}

// start brings a server up on the locked cluster, adopting one that is alive.
func (p *Postgres) start(ctx context.Context) error {
	rec, err := readRecord(p.lay.recordFile())
	if err != nil {
		return err
	}
	major, err := clusterMajor(p.lay.data)
	if err != nil {
		return err
	}
	if p.bin, err = chooseBinaries(ctx, p.cfg, p.lay.acct, rec, major); err != nil {
		return err
	}
	p.source = p.bin.source
	if major == 0 {
		p.cfg.progress("Creating the database cluster")
		if err := initCluster(ctx, p.lay, p.bin, !p.cfg.Volatile); err != nil {
			return err
		}
	}
	if err := p.bringUp(ctx); err != nil {
		return err
	}
	if err := p.prepare(ctx, rec); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errWith(err, p.srv.stop(stopCtx))
		if major == 0 { // made just now, so nothing is lost and the next start may choose another source
			err = errWith(err, os.RemoveAll(p.lay.data))
		}
		return err
	}
	return nil
}

// bringUp adopts or launches a server and waits until it answers.
func (p *Postgres) bringUp(ctx context.Context) error {
	password, err := readPassword(p.lay)
	if err != nil {
		return err
	}
	p.adminURL = socketURL(p.lay.sock, password, "postgres")
	if s, err := leftover(p.lay); err != nil {
		return err
	} else if s != nil {
		err := p.waitReady(ctx, s, 0)
		if err == nil {
			p.setServer(s, true)
			return nil
		}
		if !s.gone() { // it was not shutting down: it is there and does not want us
			return err
		}
	}
	if err := writeConf(p.lay, !p.cfg.Volatile); err != nil {
		return err
	}
	for range 40 {
		err = p.launchReady(ctx)
		// Sessions of a postmaster that was killed need a moment to notice and go.
		if err == nil || !strings.Contains(err.Error(), "pre-existing shared memory block") {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(250 * time.Millisecond):
		}
	}
	return err
}

func (p *Postgres) launchReady(ctx context.Context) error {
	offset := logSize(p.lay.logFile())
	s, err := launch(p.lay, p.bin)
	if err != nil {
		return err
	}
	if err := p.waitReady(ctx, s, offset); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return errWith(err, s.stop(stopCtx))
	}
	p.setServer(s, false)
	return nil
}

func (p *Postgres) setServer(s *server, adopted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.srv, p.adopted = s, adopted
}

// waitReady connects until the server answers, however long its recovery takes, or until it or ctx ends.
func (p *Postgres) waitReady(ctx context.Context, s *server, logOffset int64) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	slow := time.After(slowNotice)
	for {
		err := p.tryConnect(ctx)
		if err == nil {
			return nil
		}
		if !stillStarting(err) && !s.gone() && ctx.Err() == nil {
			return fault.Wrap(fault.Unavailable, opServer, "the server runs but does not let us in", err).
				WithFix("Stop it (kill -INT " + strconv.Itoa(s.pid) + ") and start again; its log is " + p.lay.logFile() + ".")
		}
		select {
		case <-s.exited:
			return fault.Wrap(fault.Unavailable, opServer, "PostgreSQL ended while starting: "+logTail(p.lay.logFile(), logOffset), s.err).
				WithFix("See " + p.lay.logFile() + ". " + waysOut)
		case <-ctx.Done():
			return fault.Wrap(fault.Canceled, opServer, "PostgreSQL was not up in time", context.Cause(ctx)).
				WithFix("Start again with more time; its log is " + p.lay.logFile() + ".")
		case <-slow:
			p.cfg.progress("Waiting for the database to recover from an unclean stop")
		case <-tick.C:
		}
	}
}

// errNotReady: the server says itself that it is not open yet.
var errNotReady = errors.New("the server is starting or stopping")

// tryConnect connects once. It asks the pid file first: each connection before time is a line in the server's log.
func (p *Postgres) tryConnect(ctx context.Context) error {
	if f, ok := readPidFile(p.lay.data); !ok || f.status != "ready" {
		return errNotReady
	}
	return withConn(ctx, p.adminURL, func(c *pgx.Conn) error { return p.checkIsOurs(ctx, c) })
}

// checkIsOurs makes sure that the server behind the socket has our data.
func (p *Postgres) checkIsOurs(ctx context.Context, c *pgx.Conn) error {
	var data string
	if err := c.QueryRow(ctx, "SHOW data_directory").Scan(&data); err != nil {
		return err
	}
	if data != p.lay.data {
		return errors.New("the server on this socket has its data in " + data)
	}
	return nil
}

// prepare makes database and extension, probes once and writes the record. template1 gets the extension as
// well, so that each database made later has it.
func (p *Postgres) prepare(ctx context.Context, rec record) error {
	if rec.Source == "" {
		if _, err := ensureVector(ctx, p.AdminURL("template1")); err != nil {
			return err
		}
	}
	if err := ensureDatabase(ctx, p.adminURL, p.database); err != nil {
		return err
	}
	vector, err := ensureVector(ctx, p.AdminURL(""))
	if err != nil {
		return err
	}
	p.vector = vector
	next := record{Source: p.source, Version: p.bin.version, BinDir: p.bin.dir, Vector: vector, Probed: probeKey(p.bin, vector)}
	if p.lay.base != p.lay.home {
		next.Base = p.lay.base
	}
	if p.lay.acct != nil {
		next.Account = p.lay.acct.name
	}
	if next.Probed != rec.Probed {
		if err := probeVector(ctx, p.AdminURL("")); err != nil {
			return err
		}
	}
	if next == rec {
		return nil
	}
	return next.write(p.lay.recordFile())
}
