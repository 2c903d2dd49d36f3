// Package service is the harness every service runs in: it turns messages and commands into handled
// inputs, one transaction for a whole batch, and carries what a handler decided to Postgres and Kafka.
//
// A shard is partition p of every topic. All inputs of a shard, records from Kafka and commands from
// inside the process alike, pass through one goroutine, so that a process has one writer per service.
// Speed rests on that; correctness rests on the database: stream versions and consumer positions are
// compared and set in the same transaction, and who loses reloads and decides again.
package service

import (
	"context"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/seal"
)

// Definition is what a service is: its name, what it owns and hears, and its handlers.
type Definition struct {
	Name     string        // schema, consumer group and role are named after it
	Family   events.Family // the family it alone writes
	Consumes []events.Family

	Migrations fs.FS // *.sql, applied in the service's schema

	// Uses is the kinds of Consumes that Handle or After look at. A newer version than this program knows of
	// a kind that is not among them only advances the position, as the kind itself does: while the writer
	// is upgraded, readers that are not concerned go on. Empty: all kinds.
	Uses []events.Event

	// Handle handles one input. It may read through u.DB, append to streams of the own family and queue
	// statements on own tables; all of a batch is committed at once. It must not wait for a network other
	// than the database's. An error must come before the first change.
	Handle func(ctx context.Context, u *Unit, in *Input) error
	// Fold is how states are made of the streams of the own family, for the snapshots of them; nil without.
	Fold Snapshots
	// After names what an input rests on: the harness reads those streams up to the versions given before
	// the input is handled, from the event store if Kafka has not delivered them yet; optional.
	After func(in *Input) []Dependency
	// Pace is the least time between two batches of a shard: a service nobody waits for saves work by
	// handling many records at once. Default: none.
	Pace time.Duration
	// Assigned is called with the shards now owned, before their first batch; optional.
	Assigned func(ctx context.Context, shards []int) error
	// Told is called when another replica has committed to a shard owned here, such as a request that
	// came to it: what this replica holds in memory about the shard may be behind. It must return at
	// once; optional.
	Told func(shard int)
	// Raw services take records as they are: Event is always nil, and a kind or version this program does
	// not know is no reason to park it. The handler decodes what it needs.
	Raw bool
	// Unfinished names the subjects of a tenant that are still at work: its data is not erased while there
	// are any; optional.
	Unfinished func(ctx context.Context, q eventstore.Querier, tenant string) ([]string, error)
	// Rebuild says how the read models are made again; the zero value is right for a service whose tables
	// are written by Handle from the facts it consumes.
	Rebuild Rebuild
	// Routes adds the service's HTTP routes; optional.
	Routes func(g *echo.Group)
	// Metrics are the service's own, beside those of the harness; optional.
	Metrics []prometheus.Collector
	// Background loops end with their context; an error ends the service.
	Background []func(ctx context.Context) error
}

// Dependency is a version of a stream that must have been handled before.
type Dependency struct {
	Stream  string
	Version int64
}

// Deps is what the harness needs from outside.
type Deps struct {
	DB         *pgxpool.Pool // logged in as the service's role
	Bus        bus.Config
	Partitions int
	Registry   *events.Registry
	Keys       *seal.Keyring // seals and opens bodies; nil: they are kept as they are
	Logger     *slog.Logger
	Tracer     trace.Tracer
	Metrics    prometheus.Registerer
	Now        func() time.Time // clock of the facts
	NewID      func() string    // event ids, UUIDv7
	GraceTime  time.Duration    // how long a stop waits for running handlers
}

// Input is one thing to handle: a record with its decoded event, or a command.
type Input struct {
	Record  *events.Record // nil for commands
	Event   events.Event   // nil for commands, and in a Raw service
	Command any            // nil for records
	Tenant  string
	Subject string

	trace  string
	closed bool // answered already: a command that was refused
	// retried says that the record is a parked one that an operator gave back.
	retried bool
	reply   any
	done    chan result
}

type result struct {
	value any
	err   error
}

// Reply sets the answer that Runtime.Do returns after the commit.
func (in *Input) Reply(v any) { in.reply = v }
