// Package store keeps the process table, the answers to idempotent requests and the timers.
package store

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/core"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the tables of the scheduler's schema.
func Migrations() (fs.FS, error) { return fs.Sub(migrations, "migrations") }

// Process is one row of the process table.
type Process struct {
	PID        string
	Version    int64
	State      core.Status
	WaitReason string
	WaitUntil  *time.Time
	Spawn      agent.Spawned
	Usage      agent.Usage
	Result     string
	Reason     string
	Code       string
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// FromState is the row of a folded process. CreatedAt is right only for a process spawned at now.
func FromState(pid string, s core.State, version int64, now time.Time) Process {
	p := Process{
		PID: pid, Version: version, State: s.Status, WaitReason: s.WaitReason(), Spawn: s.Spawn, Usage: s.Usage,
		Result: s.Result, Reason: s.Reason, Code: s.Code, CreatedAt: now, UpdatedAt: now,
	}
	if s.Status == core.Waiting && !s.Wait.Until.IsZero() {
		until := s.Wait.Until
		p.WaitUntil = &until
	}
	return p
}

const insertSQL = `INSERT INTO processes (tenant, pid, shard, version, name, state, wait_reason, wait_until, timer_at,
	priority, spawn, usage, result, reason, code, created_at, updated_at)
	VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$16)`

const updateSQL = `UPDATE processes SET version = $3, state = $4, wait_reason = $5, wait_until = $6, timer_at = $7,
	usage = $8, result = $9, reason = $10, code = $11, updated_at = $12
	WHERE tenant = $1 AND pid = $2 AND version < $3`

// Save writes the row of a process that has changed in this batch.
func Save(u *service.Unit, tenant, pid string, shard int, s core.State, version int64, spawned bool) {
	p := FromState(pid, s, version, u.Now())
	var timer *time.Time
	if at := s.TimerAt(); !at.IsZero() {
		timer = &at
	}
	if spawned {
		u.Exec(insertSQL, tenant, pid, shard, version, s.Spawn.Name, string(p.State), p.WaitReason, p.WaitUntil, timer,
			s.Spawn.Priority, s.Spawn, p.Usage, p.Result, p.Reason, p.Code, p.UpdatedAt)
		return
	}
	u.Once("process/"+tenant+"/"+pid, updateSQL, tenant, pid, version, string(p.State), p.WaitReason, p.WaitUntil, timer,
		p.Usage, p.Result, p.Reason, p.Code, p.UpdatedAt)
}

const selectSQL = `SELECT pid, version, state, wait_reason, wait_until, spawn, usage, result, reason, code,
	created_at, updated_at FROM processes `

func scan(row pgx.CollectableRow) (Process, error) {
	var p Process
	err := row.Scan(&p.PID, &p.Version, &p.State, &p.WaitReason, &p.WaitUntil, &p.Spawn, &p.Usage, &p.Result, &p.Reason,
		&p.Code, &p.CreatedAt, &p.UpdatedAt)
	return p, err
}

// Get is one process of a tenant, or fault.NotFound.
func Get(ctx context.Context, q eventstore.Querier, tenant, pid string) (Process, error) {
	const op = "scheduler.get"
	rows, err := q.Query(ctx, selectSQL+"WHERE tenant = $1 AND pid = $2", tenant, pid)
	if err != nil {
		return Process{}, eventstore.Classify(op, err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, absent(ctx, q, tenant, pid)
	}
	return p, eventstore.Classify(op, err)
}

// absent is why there is no such process. A row is written with the first event of its stream: where there
// is a stream and no row, the row was erased.
func absent(ctx context.Context, q eventstore.Querier, tenant, pid string) error {
	const op = "scheduler.get"
	var was bool
	err := q.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM eventstore.streams WHERE tenant = $1 AND stream = $2)",
		tenant, events.Agent.Stream(pid)).Scan(&was)
	switch {
	case err != nil:
		return eventstore.Classify(op, err)
	case was:
		return fault.Newf(fault.NotFound, op, "process %q was erased with all data of its tenant", pid).
			WithFix("nothing brings it back; the audit log still proves that it was there")
	}
	return fault.Newf(fault.NotFound, op, "no process %q", pid).WithFix("`agentos ps` lists the processes")
}

// Unfinished lists the processes of a tenant that have not ended.
func Unfinished(ctx context.Context, q eventstore.Querier, tenant string) ([]string, error) {
	const op = "scheduler.unfinished"
	rows, err := q.Query(ctx, "SELECT pid FROM processes WHERE tenant = $1 AND NOT state = ANY($2) ORDER BY pid",
		tenant, []core.Status{core.Completed, core.Failed, core.Terminated})
	if err != nil {
		return nil, eventstore.Classify(op, err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return pids, eventstore.Classify(op, err)
}

// Filter selects processes; empty fields select all.
type Filter struct {
	States []string
	Name   string
	After  string // pid of the last process of the page before
	Limit  int
}

// List is the tenant's processes, newest first.
func List(ctx context.Context, q eventstore.Querier, tenant string, f Filter) ([]Process, error) {
	const op = "scheduler.list"
	rows, err := q.Query(ctx, selectSQL+`WHERE tenant = $1
		AND ($2::text[] IS NULL OR state = ANY($2)) AND ($3 = '' OR name = $3) AND ($4 = '' OR pid < $4)
		ORDER BY pid DESC LIMIT $5`, tenant, f.States, f.Name, f.After, f.Limit)
	if err != nil {
		return nil, eventstore.Classify(op, err)
	}
	out, err := pgx.CollectRows(rows, scan)
	return out, eventstore.Classify(op, err)
}

// Ref is a process with what the run queue must know of it.
type Ref struct {
	Tenant, PID string
	State       core.Status
	Priority    int
	Version     int64
}

func refs(ctx context.Context, q eventstore.Querier, sql string, args ...any) ([]Ref, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, eventstore.Classify("scheduler.refs", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Ref, err error) {
		return r, row.Scan(&r.Tenant, &r.PID, &r.State, &r.Priority, &r.Version)
	})
	return out, eventstore.Classify("scheduler.refs", err)
}

// Runnable lists the ready and running processes of some shards, in the order they came.
func Runnable(ctx context.Context, q eventstore.Querier, shards []int) ([]Ref, error) {
	return refs(ctx, q, `SELECT tenant, pid, state, priority, version FROM processes
		WHERE shard = ANY($1) AND state IN ('ready', 'running') ORDER BY updated_at`, shards)
}

// Due lists processes of some shards whose timer has run out, by Postgres time.
func Due(ctx context.Context, q eventstore.Querier, shards []int) ([]Ref, error) {
	return refs(ctx, q, `SELECT tenant, pid, state, priority, version FROM processes
		WHERE shard = ANY($1) AND timer_at <= clock_timestamp() ORDER BY timer_at LIMIT 1000`, shards)
}

// Lost lists ready processes of some shards that have stood still for age: another replica's ingress made
// them ready, or their place in the queue was lost.
func Lost(ctx context.Context, q eventstore.Querier, shards []int, age time.Duration) ([]Ref, error) {
	return refs(ctx, q, `SELECT tenant, pid, state, priority, version FROM processes
		WHERE shard = ANY($1) AND state = 'ready' AND updated_at <= clock_timestamp() - $2 * interval '1 millisecond'
		ORDER BY updated_at LIMIT 1000`, shards, age.Milliseconds())
}

// NotRunning lists those of the given processes that do not run.
func NotRunning(ctx context.Context, q eventstore.Querier, tenants, pids []string) ([]Ref, error) {
	return refs(ctx, q, `SELECT p.tenant, p.pid, p.state, p.priority, p.version FROM processes p
		JOIN unnest($1::text[], $2::text[]) AS k (tenant, pid) USING (tenant, pid)
		WHERE p.state <> 'running' AND p.updated_at < clock_timestamp() - interval '1 second'`, tenants, pids)
}

// Request identifies an idempotent request. Key "" is a request without one.
type Request struct {
	Route string // "POST /v1/agents"
	Key   string
	Hash  string // of the body
}

// Answered is the answer the request got before, nil when it is new. The same key with another body is
// fault.Conflict.
func Answered(ctx context.Context, q eventstore.Querier, tenant string, r Request) (json.RawMessage, error) {
	const op = "scheduler.idempotency"
	if r.Key == "" {
		return nil, nil
	}
	var hash string
	var response []byte // as it was sent: JSON columns would lay it out anew
	err := q.QueryRow(ctx, "SELECT request_hash, response FROM idempotency WHERE tenant = $1 AND route = $2 AND key = $3",
		tenant, r.Route, r.Key).Scan(&hash, &response)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, eventstore.Classify(op, err)
	}
	if hash != r.Hash {
		return nil, fault.New(fault.Conflict, op, "this Idempotency-Key was used for another request").
			WithFix("use a new key for every new request")
	}
	return response, nil
}

// Remember keeps the answer in the transaction that does what was asked.
func Remember(u *service.Unit, tenant string, r Request, response json.RawMessage) {
	if r.Key != "" {
		u.Exec("INSERT INTO idempotency (tenant, route, key, request_hash, response) VALUES ($1,$2,$3,$4,$5)",
			tenant, r.Route, r.Key, r.Hash, []byte(response))
	}
}

// ForgetSQL drops the answers of requests that nobody sends again.
const ForgetSQL = "DELETE FROM idempotency WHERE at < clock_timestamp() - interval '24 hours'"
