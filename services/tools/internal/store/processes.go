// Package store keeps what the tools service knows of processes, in its own schema and in memory.
package store

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the tables of the service, for its own schema.
func Migrations() (fs.FS, error) { return fs.Sub(migrations, "migrations") } //nolint:wrapcheck // cannot fail

// Key names a process.
type Key struct{ Tenant, PID string }

// Process is what tool calls depend on.
type Process struct {
	Workspace string
	Tools     []string
	Ended     string // why it is over; "" while it lives
}

// Unit is what is needed of a unit of work.
type Unit interface {
	Exec(sql string, args ...any)
	OnRollback(f func())
	DB() eventstore.Querier
}

// History reads a process's stream from the event store.
type History interface {
	ReadStream(ctx context.Context, tenant, stream string, fromVersion int64) ([]events.Record, error)
	Decode(rec events.Record) (events.Event, error)
}

// cached bounds the processes kept in memory.
const cached = 8192

// Processes is the table of processes with a cache in front. The cache is right as long as this
// replica owns the shards it caches for: clear it when shards are assigned.
type Processes struct{ cache *Cache[Key, Process] }

// NewProcesses has an empty cache.
func NewProcesses() *Processes { return &Processes{cache: NewCache[Key, Process](cached)} }

// Clear empties the cache.
func (p *Processes) Clear() { p.cache.Clear() }

// Spawn notes a new process; version is that of the spawn in the agent stream.
func (p *Processes) Spawn(u Unit, k Key, version int64, spawned agent.Spawned) error {
	process := fromSpawn(spawned)
	tools, err := json.Marshal(process.Tools)
	if err != nil {
		return fault.Wrap(fault.Internal, "tools.spawn", "the tools cannot be encoded", err)
	}
	u.Exec(`INSERT INTO processes (tenant, pid, workspace, tools, version) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant, pid) DO NOTHING`, k.Tenant, k.PID, process.Workspace, string(tools), version)
	p.put(u, k, process)
	return nil
}

// End notes that a process is over, which stays so for its first reason; version is that of the event
// that says so.
func (p *Processes) End(u Unit, k Key, version int64, process Process, reason string) {
	u.Exec(`UPDATE processes SET ended = $3, version = $4 WHERE tenant = $1 AND pid = $2 AND version < $4 AND ended = ''`,
		k.Tenant, k.PID, reason, version)
	if process.Ended == "" {
		process.Ended = reason
	}
	p.put(u, k, process)
}

func (p *Processes) put(u Unit, k Key, process Process) {
	p.cache.Put(k, process)
	u.OnRollback(func() { p.cache.Drop(k) })
}

// Get is a process as far as its events are known here. One whose spawn has not come yet is read from
// the event store, where it must be: whatever concerns it was caused by it. Errors: NotFound,
// Unavailable.
func (p *Processes) Get(ctx context.Context, u Unit, h History, k Key) (Process, error) {
	if process, ok := p.cache.Get(k); ok {
		return process, nil
	}
	process, err := load(ctx, u.DB(), k)
	if errors.Is(err, pgx.ErrNoRows) {
		process, err = replay(ctx, h, k)
	}
	if err != nil {
		return Process{}, err
	}
	p.cache.Put(k, process)
	return process, nil
}

func load(ctx context.Context, db eventstore.Querier, k Key) (Process, error) {
	var process Process
	var tools []byte
	err := db.QueryRow(ctx, "SELECT workspace, tools, ended FROM processes WHERE tenant = $1 AND pid = $2", k.Tenant, k.PID).
		Scan(&process.Workspace, &tools, &process.Ended)
	if errors.Is(err, pgx.ErrNoRows) {
		return Process{}, err //nolint:wrapcheck // looked at by the caller
	}
	if err != nil {
		return Process{}, fault.Wrap(fault.Unavailable, "tools.process", "the process cannot be read", err)
	}
	if err := json.Unmarshal(tools, &process.Tools); err != nil {
		return Process{}, fault.Wrap(fault.Internal, "tools.process", "the tools of the process cannot be read", err)
	}
	return process, nil
}

func replay(ctx context.Context, h History, k Key) (Process, error) {
	records, err := h.ReadStream(ctx, k.Tenant, events.Agent.Stream(k.PID), 1)
	if err != nil {
		return Process{}, fmt.Errorf("read process %s: %w", k.PID, err)
	}
	if len(records) == 0 {
		return Process{}, fault.Newf(fault.NotFound, "tools.process", "process %s has no events", k.PID).
			WithFix("its stream was lost: check the event store")
	}
	var process Process
	for _, r := range records {
		e, err := h.Decode(r)
		if err != nil {
			return Process{}, fmt.Errorf("decode process %s: %w", k.PID, err)
		}
		if spawned, ok := e.(agent.Spawned); ok {
			process = fromSpawn(spawned)
		}
		if reason, ended := Ending(e); ended && process.Ended == "" {
			process.Ended = reason
		}
	}
	return process, nil
}

func fromSpawn(e agent.Spawned) Process {
	tools := e.Tools
	if tools == nil {
		tools = []string{}
	}
	return Process{Workspace: e.Workspace, Tools: tools}
}

// Ending reports whether an event means that nothing more may start for its process, and why.
func Ending(e events.Event) (reason string, ended bool) {
	switch e := e.(type) {
	case agent.Completed:
		return "completed", true
	case agent.Failed:
		return "failed: " + e.Code, true
	case agent.Terminated:
		return "terminated: " + e.Reason, true
	case agent.SignalReceived:
		return "killed", e.Signal == "kill"
	}
	return "", false
}
