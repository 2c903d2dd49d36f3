// Package store is the SQL of the trajectories.
package store

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/learning/internal/core"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the tables of the trajectories, in order of their names.
func Migrations() (fs.FS, error) { return fs.Sub(migrations, "migrations") }

// Key names a process.
type Key struct{ Tenant, PID string }

// Statement is one statement to be queued.
type Statement struct {
	SQL  string
	Args []any
}

const headSQL = `INSERT INTO learning.trajectories AS t (tenant, pid, name, started, outcome, steps, model_calls,
	tool_calls, input_tokens, cached_tokens, output_tokens, cost_micro, doc)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
	ON CONFLICT (tenant, pid) DO UPDATE SET name = excluded.name, started = excluded.started,
	outcome = excluded.outcome, steps = excluded.steps, model_calls = excluded.model_calls,
	tool_calls = excluded.tool_calls, input_tokens = excluded.input_tokens, cached_tokens = excluded.cached_tokens,
	output_tokens = excluded.output_tokens, cost_micro = excluded.cost_micro, doc = excluded.doc`

// PutHead writes a head.
func PutHead(k Key, h *core.Head) (Statement, error) {
	doc, err := events.Encode(h)
	if err != nil {
		return Statement{}, fault.Wrap(fault.Internal, "learning.put_head", "cannot encode a trajectory", err)
	}
	var started *time.Time
	if !h.StartedAt.IsZero() {
		started = &h.StartedAt
	}
	u := h.Usage
	return Statement{headSQL, []any{
		k.Tenant, k.PID, column(h.Name), started, h.Outcome, u.Steps, u.ModelCalls, u.ToolCalls,
		u.InputTokens, u.CachedTokens, u.OutputTokens, u.CostMicroUSD, doc,
	}}, nil
}

// PutStep writes a step.
func PutStep(k Key, s *core.Step) (Statement, error) {
	doc, err := events.Encode(s)
	if err != nil {
		return Statement{}, fault.Wrap(fault.Internal, "learning.put_step", "cannot encode a step", err)
	}
	return Statement{`INSERT INTO learning.steps (tenant, pid, step, doc) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant, pid, step) DO UPDATE SET doc = excluded.doc`, []any{k.Tenant, k.PID, s.Step, doc}}, nil
}

// column makes a text Postgres can hold: JSON allows the zero character, a text column does not.
func column(s string) string { return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "�") }

// Head is the head of a process; the zero Head when there is none.
func Head(ctx context.Context, q eventstore.Querier, k Key) (core.Head, error) {
	var h core.Head
	return h, one(q.QueryRow(ctx, `SELECT doc FROM learning.trajectories WHERE tenant = $1 AND pid = $2`, k.Tenant, k.PID), &h)
}

// Step is one step of a process; an empty one when there is none.
func Step(ctx context.Context, q eventstore.Querier, k Key, n int) (core.Step, error) {
	s := core.Step{Step: n}
	return s, one(q.QueryRow(ctx, `SELECT doc FROM learning.steps WHERE tenant = $1 AND pid = $2 AND step = $3`,
		k.Tenant, k.PID, n), &s)
}

// Behind reports whether the event store has model or tool calls of the process that are still to come.
func Behind(ctx context.Context, q eventstore.Querier, k Key, seen core.Seen) (bool, error) {
	var behind bool
	err := q.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM eventstore.streams
		WHERE tenant = $1 AND ((stream = $2 AND version > $3) OR (stream = $4 AND version > $5)))`,
		k.Tenant, events.LLM.Stream(k.PID), seen.LLM, events.Tool.Stream(k.PID), seen.Tool).Scan(&behind)
	return behind, eventstore.Classify("learning.behind", err)
}

func one(row pgx.Row, into any) error {
	var doc []byte
	err := row.Scan(&doc)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return eventstore.Classify("learning.load", err)
	}
	return decode(doc, into)
}

func decode(doc []byte, into any) error {
	if err := json.Unmarshal(doc, into); err != nil {
		return fault.Wrap(fault.Internal, "learning.load", "a stored trajectory cannot be read", err).
			WithFix("run `agentos rebuild learning`")
	}
	return nil
}

// Steps is all steps of a process in order, the frame first.
func Steps(ctx context.Context, q eventstore.Querier, k Key) ([]core.Step, error) {
	rows, err := q.Query(ctx, `SELECT doc FROM learning.steps WHERE tenant = $1 AND pid = $2 ORDER BY step`, k.Tenant, k.PID)
	if err != nil {
		return nil, eventstore.Classify("learning.steps", err)
	}
	docs, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, eventstore.Classify("learning.steps", err)
	}
	steps := make([]core.Step, len(docs))
	for i, doc := range docs {
		if err := decode(doc, &steps[i]); err != nil {
			return nil, err
		}
	}
	return steps, nil
}

const statsSQL = `SELECT name, count(*), count(*) FILTER (WHERE outcome = 'completed'),
	count(*) FILTER (WHERE outcome = 'failed'), count(*) FILTER (WHERE outcome = 'terminated'),
	count(*) FILTER (WHERE outcome = ''), sum(steps)::bigint, sum(model_calls)::bigint, sum(tool_calls)::bigint,
	sum(input_tokens)::bigint, sum(cached_tokens)::bigint, sum(output_tokens)::bigint, sum(cost_micro)::bigint
	FROM learning.trajectories
	WHERE tenant = $1 AND started IS NOT NULL AND name COLLATE "C" > $2 AND ($3 = '' OR name = $3)
	GROUP BY name COLLATE "C", name ORDER BY name COLLATE "C" LIMIT $4`

// Stats adds up the processes whose beginning has been seen by agent name: up to limit names behind after,
// only the given name if it is not empty.
func Stats(ctx context.Context, q eventstore.Querier, tenant, after, name string, limit int) ([]core.Stats, error) {
	rows, err := q.Query(ctx, statsSQL, tenant, after, name, limit)
	if err != nil {
		return nil, eventstore.Classify("learning.stats", err)
	}
	stats, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (core.Stats, error) {
		var s core.Stats
		err := row.Scan(&s.Name, &s.Runs, &s.Completed, &s.Failed, &s.Terminated, &s.Open, &s.Steps, &s.ModelCalls,
			&s.ToolCalls, &s.InputTokens, &s.CachedTokens, &s.OutputTokens, &s.CostMicroUSD)
		return s, err
	})
	return stats, eventstore.Classify("learning.stats", err)
}
