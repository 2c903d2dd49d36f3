// Package audittest gives tests of the audit service a database with an event store, a log and events.
package audittest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
	"github.com/agentos-kernel/agentos/services/audit/internal/store"
)

// Partitions is the partition count of the store.
const Partitions = 4

// Env is a database of one test.
type Env struct {
	Admin *pgxpool.Pool // superuser
	Audit *pgxpool.Pool // the audit service's role
	llm   *pgxpool.Pool // a writer's role
}

// New makes the database. Pools are closed when t ends.
func New(tb testing.TB) *Env {
	tb.Helper()
	url := testkit.Postgres(tb)
	harness, err := service.Migrations()
	if err != nil {
		tb.Fatal(err)
	}
	own, err := store.Migrations()
	if err != nil {
		tb.Fatal(err)
	}
	services := []eventstore.Service{
		{Name: "audit", Family: events.Audit, Password: "x", Migrations: []fs.FS{harness, own}},
		{Name: "llm", Family: events.LLM, Password: "x"},
	}
	for try := 1; ; try++ {
		// Roles belong to the whole cluster: set-ups of databases side by side can meet there.
		err := eventstore.Setup(tb.Context(), url, Partitions, services)
		if err == nil {
			break
		}
		if try == 20 {
			tb.Fatal(err)
		}
	}
	login := func(service string) *pgxpool.Pool {
		to := url
		if service != "" {
			if to, err = eventstore.ServiceURL(url, service, "x"); err != nil {
				tb.Fatal(err)
			}
		}
		pool, err := pgxpool.New(tb.Context(), to)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(pool.Close)
		return pool
	}
	return &Env{Admin: login(""), Audit: login("audit"), llm: login("llm")}
}

// Write puts n events with random bodies into the event store, spread over streams, and returns them.
func (e *Env) Write(tb testing.TB, n int) []events.Record {
	tb.Helper()
	var b eventstore.Batch
	prefix := uuid.NewString()[:8]
	const streams = 7
	for s := range min(streams, n) {
		a := eventstore.Append{Tenant: events.DefaultTenant, Stream: fmt.Sprintf("llm/%s-%d", prefix, s), Shard: s % Partitions}
		for i := s; i < n; i += streams {
			id, err := uuid.NewV7()
			if err != nil {
				tb.Fatal(err)
			}
			a.Records = append(a.Records, events.Record{
				ID: id.String(), Kind: "llm.call_refused", SchemaVersion: 1, Time: time.Now().UTC().Truncate(time.Microsecond),
				Correlation: prefix, Data: fmt.Appendf(nil, `{"reason":%q}`, rand.Text()),
			})
		}
		b.Add(a)
	}
	var p pgx.Batch
	b.Queue(&p)
	if err := e.llm.SendBatch(tb.Context(), &p).Close(); err != nil {
		tb.Fatal(err)
	}
	recs, err := eventstore.ReadAll(tb.Context(), e.Admin, 0, 1<<62, 1<<30)
	if err != nil {
		tb.Fatal(err)
	}
	return recs[len(recs)-n:]
}

// Log appends records to the audit log in one statement and moves the service's positions, as the
// service does.
func (e *Env) Log(tb testing.TB, recs []events.Record) {
	tb.Helper()
	var p pgx.Batch
	var b store.Batch
	for i := range recs {
		b.Add(&recs[i])
		p.Queue(`INSERT INTO audit.positions VALUES ($1, $2, $3) ON CONFLICT (tenant, stream)
			DO UPDATE SET version = greatest(excluded.version, positions.version)`,
			recs[i].Tenant, recs[i].Stream, recs[i].StreamVersion)
	}
	sql, args := b.Statement()
	p.Queue(sql, args...)
	if err := e.Audit.SendBatch(context.WithoutCancel(tb.Context()), &p).Close(); err != nil {
		tb.Fatal(err)
	}
}
