// Package stack puts the parts together: the embedded database and broker, the services and the HTTP
// server, in one process or each alone.
package stack

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
)

// The partition counts of new installations; see architecture "shard p is one thing".
const (
	EmbeddedPartitions = 4
	KafkaPartitions    = 12
)

// Infra is how to reach the database and the broker. `serve infra` leaves it in infra.json for the
// services that run beside it.
type Infra struct {
	DatabaseURL string            `json:"database_url"` // of a role that may make roles and schemas
	Brokers     []string          `json:"brokers"`
	Partitions  int               `json:"partitions"`
	Embedded    bool              `json:"embedded"` // the broker is ours and allows short sessions
	Roles       map[string]string `json:"roles"`    // passwords of the services' roles, by schema

	// Kafka is how to speak to the brokers: encryption, authentication, times. It is not kept: each
	// process has it from its environment.
	Kafka bus.Config `json:"-"`

	postgres *embedded.Postgres
	stop     []func(ctx context.Context) error
}

// InfraConfig says what to start.
type InfraConfig struct {
	Home        string     // data folder, made with mode 0711: the account Postgres runs under must pass through it
	DatabaseURL string     // a Postgres of yours; empty: the embedded one
	Kafka       bus.Config // a Kafka of yours; without Brokers: the embedded broker
	Partitions  int        // 0: Kafka.Partitions, else 4 on the embedded broker, 12 on Kafka
	Offline     bool
	Logger      *slog.Logger
	Progress    func(string)
}

const (
	infraFile = "infra.json"
	rolesFile = "roles.json"
)

// StartInfra starts what is not given, and makes schemas, roles and topics.
func StartInfra(ctx context.Context, cfg InfraConfig) (inf *Infra, err error) {
	if err := os.MkdirAll(cfg.Home, 0o711); err != nil { //nolint:gosec // secrets in it are 0600
		return nil, fault.Wrap(fault.Invalid, "stack.infra", "cannot make the data folder", err).
			WithFix("set AGENTOS_HOME to a folder you can write")
	}
	inf = &Infra{Brokers: cfg.Kafka.Brokers, Kafka: cfg.Kafka, Embedded: len(cfg.Kafka.Brokers) == 0}
	defer func() {
		if err != nil {
			err = errors.Join(err, inf.Stop(context.WithoutCancel(ctx)))
		}
	}()
	inf.Partitions = cmp.Or(cfg.Partitions, cfg.Kafka.Partitions, defaultPartitions(inf.Embedded))
	if inf.Roles, err = roles(filepath.Join(cfg.Home, rolesFile)); err != nil {
		return inf, err
	}
	pg, err := embedded.StartPostgres(ctx, embedded.PostgresConfig{
		Home: filepath.Join(cfg.Home, "postgres"), DatabaseURL: cfg.DatabaseURL, Offline: cfg.Offline,
		Logger: cfg.Logger, Progress: cfg.Progress,
	})
	if err != nil {
		return inf, err
	}
	inf.stop = append(inf.stop, pg.Stop)
	inf.postgres = pg
	inf.DatabaseURL = pg.AdminURL("agentos")
	if cfg.DatabaseURL != "" {
		inf.DatabaseURL = cfg.DatabaseURL
	}
	if inf.Embedded {
		b, err := embedded.StartBroker(ctx, embedded.BrokerConfig{Dir: filepath.Join(cfg.Home, "broker"), Logger: cfg.Logger})
		if err != nil {
			return inf, err
		}
		inf.stop = append(inf.stop, func(context.Context) error { return b.Close() })
		inf.Brokers = []string{b.Addr()}
	}
	return inf, inf.Prepare(ctx, cfg.Logger)
}

func defaultPartitions(isEmbedded bool) int {
	if isEmbedded {
		return EmbeddedPartitions
	}
	return KafkaPartitions
}

// Guard returns when ctx ends, or with an error when the database that was started is down for good: the
// program must not live on without it.
func (i *Infra) Guard(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-i.postgres.Done():
		return i.postgres.DownErr()
	}
}

// Stop stops what was started, the last first.
func (i *Infra) Stop(ctx context.Context) error {
	var errs []error
	for _, v := range slices.Backward(i.stop) {
		errs = append(errs, v(ctx))
	}
	i.stop = nil
	return errors.Join(errs...)
}

// Prepare makes schemas, roles and topics; idempotent.
func (i *Infra) Prepare(ctx context.Context, log *slog.Logger) error {
	own, err := service.Migrations()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		var svcs []eventstore.Service
		for _, p := range parts() {
			migrations, err := p.migrations()
			if err != nil {
				return err
			}
			all := []fs.FS{own}
			if migrations != nil {
				all = append(all, migrations)
			}
			svcs = append(svcs, eventstore.Service{Name: p.schema, Family: p.family, Password: i.Roles[p.schema], Migrations: all})
		}
		return eventstore.Setup(ctx, i.DatabaseURL, i.Partitions, svcs)
	})
	g.Go(func() error { return i.makeTopics(ctx, log) })
	return g.Wait()
}

// makeTopics says which variable names a Kafka that does not answer.
func (i *Infra) makeTopics(ctx context.Context, log *slog.Logger) error {
	err := bus.EnsureTopics(ctx, i.Bus(log), topics(i.Partitions))
	if err == nil || ctx.Err() != nil || !fault.Is(err, fault.Unavailable) || i.Embedded {
		return err
	}
	return fault.Wrap(fault.Unavailable, "stack.topics", "cannot reach Kafka at "+strings.Join(i.Brokers, ", "), err).
		WithFix("check that Kafka runs and that " + bus.EnvBrokers + " is right")
}

// Bus is how the services reach the broker.
func (i *Infra) Bus(log *slog.Logger) bus.Config {
	cfg := i.Kafka
	cfg.Brokers, cfg.Logger = i.Brokers, log
	if i.Embedded && cfg.SessionTimeout == 0 {
		cfg.SessionTimeout = 2 * time.Second
	}
	return cfg
}

// topics are all topics with their explicit retention. Facts stay in Postgres for good; what Kafka no
// longer has is read from there.
func topics(partitions int) []bus.TopicSpec {
	out := []bus.TopicSpec{{Name: events.DeltasTopic, Partitions: partitions, Retention: 10 * time.Minute, RetentionBytes: 64 << 20}}
	for _, f := range events.Families() {
		out = append(out, bus.TopicSpec{Name: f.Topic(), Partitions: partitions, Retention: 24 * time.Hour, RetentionBytes: 256 << 20})
	}
	return out
}

// roles are the passwords of the services' database roles, made on first use and kept with mode 0600.
func roles(path string) (map[string]string, error) {
	const op = "stack.roles"
	have := map[string]string{}
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &have)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(fault.Invalid, op, "cannot read "+path, err).WithFix("remove the file: new passwords are made and set")
	}
	changed := false
	for _, p := range parts() {
		if have[p.schema] == "" {
			var b [16]byte
			_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
			have[p.schema], changed = hex.EncodeToString(b[:]), true
		}
	}
	if !changed {
		return have, nil
	}
	return have, writeJSON(path, have)
}

func writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fault.Wrap(fault.Internal, "stack.write", "cannot encode "+filepath.Base(path), err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(raw, '\n'), 0o600); err != nil {
		return fault.Wrap(fault.Unavailable, "stack.write", "cannot write "+path, err).
			WithFix("make the folder writable; for services that run apart, make its keys with `agentos keys` first")
	}
	return os.Rename(tmp, path)
}

// Leave writes infra.json for services that run beside this process.
func (i *Infra) Leave(home string) error { return writeJSON(filepath.Join(home, infraFile), i) }

// FindInfra is what `serve infra` left in home.
func FindInfra(home string) (*Infra, error) {
	const op = "stack.infra"
	raw, err := os.ReadFile(filepath.Join(home, infraFile))
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, "no database and broker given, and none left by `agentos serve infra`", err).
			WithFix("set DATABASE_URL and KAFKA_BROKERS, or start `agentos serve infra` with the same AGENTOS_HOME")
	}
	var i Infra
	if err := json.Unmarshal(raw, &i); err != nil {
		return nil, fault.Wrap(fault.Invalid, op, "cannot read "+infraFile, err).WithFix("start `agentos serve infra` again")
	}
	return &i, nil
}

// External is a database and a broker of yours; the passwords of the roles are those kept in home.
// partitions may be 0: as InfraConfig.Partitions.
func External(home, databaseURL string, kafka bus.Config, partitions int) (*Infra, error) {
	pw, err := roles(filepath.Join(home, rolesFile))
	return &Infra{
		DatabaseURL: databaseURL, Brokers: kafka.Brokers, Kafka: kafka, Roles: pw,
		Partitions: cmp.Or(partitions, kafka.Partitions, KafkaPartitions),
	}, err
}
