package embedded

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const (
	opProbe = "embedded.probe"
	// defaultDatabase is the database made in a cluster of ours.
	defaultDatabase = "agentos"
	codeNoDatabase  = "3D000"
	codeStartingUp  = "57P03"
	codeDuplicateDB = "42P04"
	codeUniqueRace  = "23505"
)

// socketURL is the superuser's connection URL over the unix socket.
func socketURL(sock, password, database string) string {
	q := url.Values{"host": {sock}, "port": {strconv.Itoa(socketPort)}}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, password), Path: "/" + database, RawQuery: q.Encode()}
	return u.String()
}

// withDatabase replaces the database of a connection URL.
func withDatabase(raw, database string) string {
	u, err := url.Parse(raw)
	if err != nil || database == "" {
		return raw // checked when it was taken in
	}
	u.Path = "/" + database
	return u.String()
}

// connect opens one connection that knows no server-side state of ours.
func connect(ctx context.Context, rawURL string) (*pgx.Conn, error) {
	conf, err := pgx.ParseConfig(rawURL)
	if err != nil {
		return nil, err
	}
	if conf.ConnectTimeout == 0 {
		conf.ConnectTimeout = 10 * time.Second
	}
	return pgx.ConnectConfig(ctx, conf)
}

// withConn runs fn on a connection of its own.
func withConn(ctx context.Context, rawURL string, fn func(*pgx.Conn) error) error {
	conn, err := connect(ctx, rawURL)
	if err != nil {
		return err
	}
	err = fn(conn)
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if cerr := conn.Close(closeCtx); err == nil {
		return cerr
	}
	return err
}

// ensureDatabase makes the database if it is missing; admin is a URL of one that exists.
func ensureDatabase(ctx context.Context, admin, database string) error {
	err := withConn(ctx, admin, func(c *pgx.Conn) error {
		var found bool
		err := c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).Scan(&found)
		if err != nil || found {
			return err
		}
		_, err = c.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{database}.Sanitize())
		if code := pgCode(err); code == codeDuplicateDB || code == codeUniqueRace {
			return nil // another program was faster
		}
		return err
	})
	if err != nil {
		return fault.Wrap(fault.Unavailable, opProbe, "cannot make the database "+database, err).
			WithFix("Create it by hand, or give the connecting role the right CREATEDB.")
	}
	return nil
}

// ensureVector puts pgvector into the database and returns its version.
func ensureVector(ctx context.Context, rawURL string) (string, error) {
	var version, offered string
	err := withConn(ctx, rawURL, func(c *pgx.Conn) error {
		err := c.QueryRow(ctx, "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'").Scan(&offered)
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.New(fault.Unavailable, opProbe, "the server has no pgvector").WithFix(waysOut)
		}
		if err != nil {
			return err
		}
		if _, err := c.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS vector"); err != nil {
			return err
		}
		if err := c.QueryRow(ctx, "SELECT extversion FROM pg_extension WHERE extname = 'vector'").Scan(&version); err != nil {
			return err
		}
		if version != offered {
			if _, err := c.Exec(ctx, "ALTER EXTENSION vector UPDATE"); err != nil {
				return err
			}
			version = offered
		}
		return nil
	})
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return "", err
	}
	if err != nil {
		return "", fault.Wrap(fault.Unavailable, opProbe, "cannot put pgvector into the database", err).
			WithFix("Let a superuser run CREATE EXTENSION vector (or ALTER EXTENSION vector UPDATE) in the database.")
	}
	if !olderOrEqual(minVector, version) {
		return "", fault.Newf(fault.Unavailable, opProbe, "pgvector %s is too old: %s is the least", version, minVector).WithFix(waysOut)
	}
	return version, nil
}

// probeVector runs what pgvector would otherwise be first asked for in the middle of somebody's work: a
// distance query and an HNSW build, on a temporary table. pgvector built for another processor kills the server.
func probeVector(ctx context.Context, rawURL string) error {
	err := withConn(ctx, rawURL, func(c *pgx.Conn) error {
		for _, sql := range []string{
			"CREATE TEMP TABLE agentos_probe (id int, v vector(64))",
			`INSERT INTO agentos_probe SELECT i, (SELECT array_agg(sin(i * 64 + j)) FROM generate_series(1, 64) j)::real[]::vector
			 FROM generate_series(1, 100) i`,
			"SELECT id FROM agentos_probe ORDER BY v <=> (SELECT v FROM agentos_probe WHERE id = 1), v <-> v LIMIT 5",
			"CREATE INDEX ON agentos_probe USING hnsw ((v::halfvec(64)) halfvec_cosine_ops)",
			"CREATE INDEX ON agentos_probe USING hnsw (v vector_l2_ops)",
		} {
			if _, err := c.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	if pgCode(err) == "" && ctx.Err() == nil || strings.HasPrefix(pgCode(err), "57P") {
		return fault.Wrap(fault.Unavailable, opProbe,
			"the server broke off at the first vector query: most likely its pgvector is built for another processor", err).
			WithFix(waysOut + ` Or build pgvector for this machine with make OPTFLAGS="" and use that server by DATABASE_URL.`)
	}
	return fault.Wrap(fault.Unavailable, opProbe, "pgvector does not work on this server", err).WithFix(waysOut)
}

func pgCode(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code
	}
	return ""
}

// stillStarting reports whether a connection failed because the server is not up yet.
func stillStarting(err error) bool {
	var op *net.OpError
	return errors.Is(err, errNotReady) || pgCode(err) == codeStartingUp || errors.As(err, &op)
}

// probeKey names what a passed probe is good for: these binaries on this kind of processor.
func probeKey(b binaries, vector string) string {
	return strings.Join([]string{b.source, b.version, b.dir, vector, runtime.GOARCH, hashOf(cpuFeatures())}, " ")
}

// cpuFeatures is the processor's feature line, "" where the system does not tell.
func cpuFeatures() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if k, v, ok := strings.Cut(sc.Text(), ":"); ok {
			if k = strings.TrimSpace(k); k == "flags" || k == "Features" {
				return strings.TrimSpace(v)
			}
		}
	}
	return ""
}
