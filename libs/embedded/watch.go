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
	maxRestarts  = 5
	healthyAfter = time.Minute
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
	restarts, since := 0, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-trim.C:
			if err := trimLog(p.lay.logFile()); err != nil {
				p.cfg.Logger.WarnContext(ctx, "cannot trim the database's log", slog.Any("error", err))
			}
		case <-p.current().exited:
			if time.Since(since) > healthyAfter {
				restarts = 0
			}
			restarts, since = restarts+1, time.Now()
			if !p.restart(ctx, restarts) {
				return
			}
		}
	}
}

// restart launches a server that died; false when that is hopeless or we are stopping.
func (p *Postgres) restart(ctx context.Context, n int) bool {
	if ctx.Err() != nil {
		return false
	}
	p.cfg.Logger.ErrorContext(ctx, "the database server died and is started again", slog.Int("restart", n), slog.Any("error", p.current().err))
	for ; n <= maxRestarts; n++ {
		err := p.bringUp(ctx)
		if err == nil {
			return true
		}
		p.cfg.Logger.ErrorContext(ctx, "the database server does not start", slog.Any("error", err))
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Duration(n) * 200 * time.Millisecond):
		}
	}
	close(p.done)
	return false
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
