package eventstore

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/fault"
)

//go:embed schema.sql
var schemaSQL string

// Service is what the database must know of a service: its login role, its private schema and the
// family it alone may append to.
type Service struct {
	Name       string // schema name; the role is RoleName(Name)
	Family     events.Family
	Password   string
	Migrations []fs.FS // *.sql at each root, applied in name order, each once
}

// RoleName is the login role of a service.
func RoleName(service string) string { return "agentos_" + service }

// setupLock is the key of the advisory lock that lets one program at a time change schemas.
const setupLock = 0x61676f73 // "agos"

// Setup makes or upgrades the event store and the private schemas of the services. It is idempotent
// and safe to run from several programs at once. A partition count other than the one the store was
// made with is fault.Invalid: key mapping, and with it the order per process, would change.
func Setup(ctx context.Context, adminURL string, partitions int, services []Service) (err error) {
	const op = "eventstore.setup"
	conn, err := pgx.Connect(ctx, adminURL)
	if err != nil {
		return fault.Wrap(fault.Unavailable, op, "cannot reach Postgres", err).
			WithFix("check that Postgres runs, and DATABASE_URL with the password in it or in the file of DATABASE_PASSWORD_FILE")
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", setupLock); err != nil {
		return fault.Wrap(fault.Unavailable, op, "cannot take the set-up lock", err)
	}
	if err := setupStore(ctx, conn, partitions); err != nil {
		return err
	}
	for _, s := range services {
		if err := setupService(ctx, conn, s); err != nil {
			return err
		}
	}
	return nil
}

func setupStore(ctx context.Context, conn *pgx.Conn, partitions int) error {
	const op = "eventstore.setup"
	stmts := []string{
		"CREATE SCHEMA IF NOT EXISTS eventstore",
		schemaSQL,
		"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA eventstore FROM PUBLIC",
	}
	for _, s := range stmts {
		if _, err := conn.Exec(ctx, s); err != nil {
			return fault.Wrap(fault.Internal, op, "cannot make the event store", err)
		}
	}
	var had string
	err := conn.QueryRow(ctx, `INSERT INTO eventstore.meta VALUES ('partitions', $1)
		ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING value`, strconv.Itoa(partitions)).Scan(&had)
	if err != nil {
		return fault.Wrap(fault.Internal, op, "cannot read the partition count", err)
	}
	if had != strconv.Itoa(partitions) {
		return fault.Newf(fault.Invalid, op, "this store was made with %s partitions, not %d", had, partitions).
			WithFix("set KAFKA_PARTITIONS=" + had + ", or --partitions " + had)
	}
	return nil
}

// roleSettings are what every session of a service's role begins with, on any Postgres it may be given.
//
// Statements are prepared while tables are still empty: a plan made then must not scan them later, and
// as every access of the hot path is by key, planning it anew for each call would only cost. A session
// that holds a transaction open holds back every reader's watermark, so one that has gone silent is ended.
func roleSettings() []string {
	return []string{
		"enable_seqscan = off",
		"plan_cache_mode = force_generic_plan",
		"idle_in_transaction_session_timeout = '60s'",
		// A replica whose network is gone is noticed after 10 s here as it notices it there (libs/dial), and
		// its locks are free.
		"tcp_user_timeout = '10s'",
		"tcp_keepalives_idle = 5",
		"tcp_keepalives_interval = 1",
		"tcp_keepalives_count = 5",
	}
}

func setupService(ctx context.Context, conn *pgx.Conn, s Service) error {
	const op = "eventstore.setup"
	role, schema := pgx.Identifier{RoleName(s.Name)}.Sanitize(), pgx.Identifier{s.Name}.Sanitize()
	database := pgx.Identifier{conn.Config().Database}.Sanitize()
	stmts := []string{
		fmt.Sprintf("CREATE ROLE %s LOGIN", role),
		fmt.Sprintf("ALTER ROLE %s PASSWORD %s", role, quoteLiteral(s.Password)),
		fmt.Sprintf("GRANT %s TO CURRENT_USER", role),
		fmt.Sprintf("CREATE SCHEMA IF NOT EXISTS %s AUTHORIZATION %s", schema, role),
		"GRANT USAGE ON SCHEMA eventstore TO " + role,
		"GRANT SELECT ON ALL TABLES IN SCHEMA eventstore TO " + role,
		"REVOKE ALL ON eventstore.data_keys FROM " + role,
		"GRANT SELECT ON ALL SEQUENCES IN SCHEMA eventstore TO " + role,
		"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA eventstore TO " + role,
	}
	for _, setting := range roleSettings() {
		stmts = append(stmts, fmt.Sprintf("ALTER ROLE %s IN DATABASE %s SET %s", role, database, setting))
	}
	for _, q := range stmts {
		if err := execShared(ctx, conn, q); err != nil {
			return fault.Wrap(fault.Internal, op, "cannot make role and schema of "+s.Name, err).
				WithFix("the user in DATABASE_URL must be allowed to create roles and schemas")
		}
	}
	if _, err := conn.Exec(ctx, `INSERT INTO eventstore.writers VALUES ($1, $2)
		ON CONFLICT (role) DO UPDATE SET family = excluded.family`, RoleName(s.Name), string(s.Family)); err != nil {
		return fault.Wrap(fault.Internal, op, "cannot register the writer "+s.Name, err)
	}
	return migrate(ctx, conn, s)
}

// execShared runs a statement on roles, which all databases of a server share: the set-up lock of this
// database does not keep another database's set-up away, so a collision is tried again. A role that is
// there already is no error.
func execShared(ctx context.Context, conn *pgx.Conn, sql string) error {
	for try := 1; ; try++ {
		_, err := conn.Exec(ctx, sql)
		var pg *pgconn.PgError
		if err == nil || (errors.As(err, &pg) && pg.Code == "42710") { // duplicate_object
			return nil
		}
		// XX000 is "tuple concurrently updated", 23505 two roles made at once.
		if pg == nil || (pg.Code != "XX000" && pg.Code != "23505" && pg.Code != "40001") || try == 50 {
			return err
		}
		select {
		case <-time.After(time.Duration(try) * 2 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// migrate applies the service's own migrations as the service's role, each in a transaction of its own.
func migrate(ctx context.Context, conn *pgx.Conn, s Service) error {
	const op = "eventstore.migrate"
	for _, from := range s.Migrations {
		names, err := fs.Glob(from, "*.sql")
		if err != nil {
			return fault.Wrap(fault.Internal, op, "cannot list migrations of "+s.Name, err)
		}
		sort.Strings(names)
		for _, name := range names {
			body, err := fs.ReadFile(from, name)
			if err != nil {
				return fault.Wrap(fault.Internal, op, "cannot read migration "+name, err)
			}
			if err := applyOne(ctx, conn, s.Name, name, body); err != nil {
				return fault.Wrap(fault.Internal, op, "migration "+s.Name+"/"+name+" failed", err)
			}
		}
	}
	return nil
}

func applyOne(ctx context.Context, conn *pgx.Conn, service, name string, body []byte) error {
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		role, schema := pgx.Identifier{RoleName(service)}.Sanitize(), pgx.Identifier{service}.Sanitize()
		if _, err := tx.Exec(ctx, fmt.Sprintf(`SET LOCAL ROLE %s; SET LOCAL search_path = %s;
			CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, digest text NOT NULL, at timestamptz NOT NULL DEFAULT now())`,
			role, schema)); err != nil {
			return err
		}
		var had string
		err := tx.QueryRow(ctx, "SELECT digest FROM migrations WHERE name = $1", name).Scan(&had)
		if err == nil {
			if had != digest {
				return errors.New("was applied with other content: write a new migration instead of changing this one")
			}
			return nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if _, err := tx.Exec(ctx, string(body)); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO migrations (name, digest) VALUES ($1, $2)", name, digest)
		return err
	})
}

// ServiceURL is adminURL with the login of a service and its schema as search path.
func ServiceURL(adminURL, service, password string) (string, error) {
	u, err := url.Parse(adminURL)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return "", fault.New(fault.Invalid, "eventstore.url", "DATABASE_URL is not a postgres:// URL")
	}
	u.User = url.UserPassword(RoleName(service), password)
	q := u.Query()
	q.Del("user")
	q.Del("password")
	q.Set("search_path", service)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
