package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/learning"
)

// lives is what one process of five steps writes, by family: the facts of a real run, in their order
// within the stream, with the examples of the catalogue as their data (every field set).
func lives() map[string][]string {
	out := map[string][]string{"scheduler": {"agent.spawned"}, "context": {"context.page_written", "context.page_written"}}
	for range 5 {
		out["scheduler"] = append(out["scheduler"], "agent.step_granted", "agent.call_observed", "agent.call_observed", "agent.step_settled")
		out["context"] = append(out["context"], "context.window_assembled", "context.page_written", "context.page_written")
		out["llm"] = append(out["llm"], "llm.call_started", "llm.call_finished")
		out["tools"] = append(out["tools"], "tool.call_decided", "tool.call_started", "tool.call_finished")
	}
	out["scheduler"] = append(out["scheduler"], "agent.completed")
	return out
}

// runReplay fills the event store and reads it back through decode and fold.
func runReplay(ctx context.Context, e *env) error {
	return e.withParts(ctx, func(p *parts) error {
		reg, err := catalog.New()
		if err != nil {
			return err
		}
		total, err := p.fill(ctx, pick(e, 3200, 320))
		if err != nil {
			return err
		}
		db, err := p.pool(ctx, "scheduler", 4)
		if err != nil {
			return err
		}
		rate, err := fold(ctx, db, reg, total)
		if err != nil {
			return err
		}
		e.report.judged("replay.fold", "events/s", total, rate, "≥ 100,000", rate >= 100_000, "read, decode every event, count by process; one goroutine")
		began := time.Now()
		got, err := learning.Replay(ctx, db, reg, learning.ReplayOptions{})
		if err != nil {
			return err
		}
		if got.Events != int64(total) || got.Unknown != 0 {
			return fault.Newf(fault.Internal, "bench", "replayed %d events, %d of them unknown; written were %d", got.Events, got.Unknown, total)
		}
		rate = float64(got.Events) / time.Since(began).Seconds()
		e.report.judged("replay.learning", "events/s", total, rate, "≥ 100,000", rate >= 100_000, "learning.Replay, the code of `agentos replay`")
		return nil
	})
}

// fill writes the lives of some processes, each family by its own role.
func (p *parts) fill(ctx context.Context, processes int) (int, error) {
	records := map[string]events.Record{}
	for _, t := range catalog.Types() {
		if t.Upcast != nil {
			continue // written no more
		}
		data, err := events.Encode(t.Example)
		if err != nil {
			return 0, err
		}
		records[t.Kind] = events.Record{Kind: t.Kind, SchemaVersion: t.Version, Correlation: "bench", Data: data}
	}
	total := 0
	g, gctx := errgroup.WithContext(ctx)
	for name, kinds := range lives() {
		total += processes * len(kinds)
		db, err := p.pool(ctx, name, 2)
		if err != nil {
			return 0, err
		}
		g.Go(func() error { return write(gctx, db, families()[name], kinds, records, processes) })
	}
	return total, g.Wait()
}

// write appends the streams of one family, some to a transaction.
func write(ctx context.Context, db *pgxpool.Pool, family events.Family, kinds []string, records map[string]events.Record, processes int) error {
	const at = 20
	for from := 0; from < processes; from += at {
		var b eventstore.Batch
		for i := from; i < min(from+at, processes); i++ {
			a := eventstore.Append{Tenant: events.DefaultTenant, Stream: family.Stream(fmt.Sprintf("p%06d", i)), Shard: i % partitions}
			for _, kind := range kinds {
				r := records[kind]
				r.ID, r.Time = newID(), time.Now()
				a.Records = append(a.Records, r)
			}
			b.Add(a)
		}
		q := &pgx.Batch{}
		b.Queue(q)
		if err := db.SendBatch(ctx, q).Close(); err != nil {
			return eventstore.Classify("bench.fill", err)
		}
	}
	return nil
}

// fold reads all events page by page through the registry and a fold that counts by process.
func fold(ctx context.Context, db *pgxpool.Pool, reg *events.Registry, want int) (float64, error) {
	const page = 2000
	type count struct{ facts, steps int }
	state := map[string]count{}
	began := time.Now()
	read := 0
	for after := int64(0); ; {
		recs, err := eventstore.ReadAll(ctx, db, after, 1<<62, page)
		if err != nil {
			return 0, err
		}
		for i := range recs {
			e, err := reg.Decode(recs[i])
			if err != nil {
				return 0, err
			}
			s := state[recs[i].Subject()]
			s.facts++
			if _, ok := e.(agent.StepSettled); ok {
				s.steps++
			}
			state[recs[i].Subject()] = s
		}
		read += len(recs)
		if len(recs) < page {
			break
		}
		after = recs[len(recs)-1].Position
	}
	rate := float64(read) / time.Since(began).Seconds()
	if read != want {
		return 0, fault.Newf(fault.Internal, "bench", "read %d events of %d", read, want)
	}
	return rate, nil
}
