package embedded

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const (
	// startPatience is how long a server that died may refuse to start before it is given up: the program
	// must then end, so that whoever runs it sees that there is no database.
	startPatience = 15 * time.Second
	// restartPause is the least time between two starts of a server that starts and dies, and longestPause
	// between two of one that does not start.
	restartPause = 300 * time.Millisecond
	longestPause = 2 * time.Second
)

// watch starts the goroutine that brings a dead server back and bounds its log.
func (p *Postgres) watch(ctx context.Context) {
	ctx, p.endWatch = context.WithCancel(context.WithoutCancel(ctx))
	p.watchDone = make(chan struct{})
	go func() {
		defer close(p.watchDone)
		p.watchLoop(ctx)
	}()
}

func (p *Postgres) watchLoop(ctx context.Context) {
	trim := time.NewTicker(time.Minute)
	defer trim.Stop()
	for since := time.Now(); ; since = time.Now() {
		for running := p.current(); !running.gone(); {
			select {
			case <-ctx.Done():
				return
			case <-trim.C:
				if err := trimLog(p.lay.logFile()); err != nil {
					p.cfg.Logger.WarnContext(ctx, "cannot trim the database's log", slog.Any("error", err))
				}
			case <-running.exited:
			}
		}
		if !pause(ctx, restartPause-time.Since(since)) || !p.restart(ctx) {
			return
		}
	}
}

// restart launches a server that died, however often that happens; false when it does not start, or when
// we are stopping.
func (p *Postgres) restart(ctx context.Context) bool {
	p.cfg.Logger.ErrorContext(ctx, "the database server died and is started again", slog.Any("error", p.current().err))
	began := time.Now()
	for wait := restartPause; ; wait = min(2*wait, longestPause) {
		err := p.bringUp(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		p.cfg.Logger.ErrorContext(ctx, "the database server does not start", slog.Any("error", err))
		if time.Since(began) > startPatience {
			p.downErr = fault.Wrap(fault.Unavailable, opServer, "the database server died and does not start again", err).
				WithFix("Mend what its log names and start again; nothing that was committed is lost. Its log is " + p.lay.logFile() + ".")
			close(p.done)
			return false
		}
		if !pause(ctx, wait) {
			return false
		}
	}
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (p *Postgres) current() *server {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.srv
}

// useServer checks a server of the user's and prepares a database on it.
func useServer(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	u, err := url.Parse(cfg.DatabaseURL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return nil, fault.New(fault.Invalid, opServer, "DATABASE_URL is not a postgres:// URL").
			WithFix("Write it as postgres://user:password@host:5432/agentos.")
	}
	p := &Postgres{cfg: cfg, adminURL: cfg.DatabaseURL, source: SourceURL, done: make(chan struct{})}
	if p.database = strings.TrimPrefix(u.Path, "/"); p.database == "" {
		p.database = defaultDatabase
	}
	if err := p.checkServer(ctx); err != nil {
		return nil, err
	}
	if p.vector, err = ensureVector(ctx, p.AdminURL("")); err != nil {
		return nil, err
	}
	if err := probeVector(ctx, p.AdminURL("")); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Postgres) checkServer(ctx context.Context) error {
	var version string
	show := func(c *pgx.Conn) error { return c.QueryRow(ctx, "SHOW server_version").Scan(&version) }
	err := withConn(ctx, p.AdminURL(""), show)
	if pgCode(err) == codeNoDatabase {
		if err := ensureDatabase(ctx, p.AdminURL("postgres"), p.database); err != nil {
			return err
		}
		err = withConn(ctx, p.AdminURL(""), show)
	}
	if err != nil {
		return fault.Wrap(fault.Unavailable, opServer, "cannot connect to the server of DATABASE_URL", err).
			WithFix("Check that it runs and that user and password are right.")
	}
	p.bin.version, _, _ = strings.Cut(version, " ")
	major := versionParts(p.bin.version)
	if len(major) == 0 || major[0] < minMajor {
		return fault.Newf(fault.Unavailable, opServer, "the server of DATABASE_URL is PostgreSQL %s: %d is the least", version, minMajor).
			WithFix("Use a newer server, or none: without DATABASE_URL a private one is run.")
	}
	return nil
}
