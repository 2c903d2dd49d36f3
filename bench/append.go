package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
)

// payload is the size of an event's data and of the plain row beside it, in bytes.
const payload = 500

// writeFunc writes one transaction; i counts the transactions of one writer.
type writeFunc func(ctx context.Context, writer, i int) error

// runAppend measures the event store's append, outbox row and fsync included, beside a plain INSERT of
// one row by as many writers. Both are run in turns, so that what else the machine does hits both.
func runAppend(ctx context.Context, e *env) error {
	return e.withParts(ctx, func(p *parts) error {
		db, err := p.pool(ctx, "scheduler", 66)
		if err != nil {
			return err
		}
		if _, err := db.Exec(ctx, "CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data bytea NOT NULL)"); err != nil {
			return err
		}
		data := []byte(`{"text":"` + strings.Repeat("x", payload-11) + `"}`)
		insert := func(ctx context.Context, _, _ int) error {
			_, err := db.Exec(ctx, "INSERT INTO plain (data) VALUES ($1)", data)
			return err
		}
		for _, writers := range []int{1, 16, 64} {
			if err := e.compare(ctx, db, writers, data, insert); err != nil {
				return err
			}
		}
		return e.batches(ctx, db, data)
	})
}

// compare runs append and INSERT in turns with a number of writers.
func (e *env) compare(ctx context.Context, db *pgxpool.Pool, writers int, data []byte, insert writeFunc) error {
	round, rounds := pick(e, 2*time.Second, 500*time.Millisecond), pick(e, 3, 1)
	one := appender(db, fmt.Sprintf("w%d", writers), 1, 1, data)
	for _, w := range []writeFunc{one, insert} { // warm-up: connections and plans
		if _, err := hammer(ctx, writers, round/4, w); err != nil {
			return err
		}
	}
	var appended, inserted, seconds float64
	for range rounds {
		a, err := hammer(ctx, writers, round, one)
		if err != nil {
			return err
		}
		b, err := hammer(ctx, writers, round, insert)
		if err != nil {
			return err
		}
		appended, inserted, seconds = appended+a, inserted+b, seconds+1
	}
	appended, inserted = appended/seconds, inserted/seconds
	n := int(appended * seconds * round.Seconds())
	name, note := fmt.Sprintf("append.%d", writers), fmt.Sprintf("%d writers, one event and its outbox row each, %d B", writers, payload)
	if writers == 16 {
		e.report.judged(name, "tx/s", n, appended, "≥ 8,000", appended >= 8_000, note)
	} else {
		e.report.value(name, "tx/s", n, appended, note)
	}
	e.report.value(fmt.Sprintf("insert.%d", writers), "tx/s", int(inserted*seconds*round.Seconds()), inserted, fmt.Sprintf("%d writers, a plain row of %d B", writers, payload))
	if writers == 16 {
		ratio := appended / inserted
		e.report.judged("append_ratio", "", n, ratio, "≥ 0.45", ratio >= 0.45, "append / insert at 16 writers")
	}
	return nil
}

// batches appends 20 events at a time.
func (e *env) batches(ctx context.Context, db *pgxpool.Pool, data []byte) error {
	const size = 20
	round := pick(e, 3*time.Second, 500*time.Millisecond)
	for _, c := range []struct {
		name    string
		streams int
		note    string
	}{
		{"append.batch20", 1, "16 writers, 20 events of one stream per transaction"},
		{"append.batch20x10", 10, "16 writers, 2 events of each of 10 streams per transaction"},
	} {
		write := appender(db, c.name, c.streams, size/c.streams, data)
		if _, err := hammer(ctx, 16, round/4, write); err != nil {
			return err
		}
		rate, err := hammer(ctx, 16, round, write)
		if err != nil {
			return err
		}
		rate *= size
		n := int(rate * round.Seconds())
		if c.streams == 1 {
			e.report.judged(c.name, "events/s", n, rate, "≥ 40,000", rate >= 40_000, c.note)
		} else {
			e.report.value(c.name, "events/s", n, rate, c.note)
		}
	}
	return nil
}

// appender appends some events to each of some streams of the writer's own, at the version it knows.
// Each writer calls it from one goroutine with its own number.
func appender(db *pgxpool.Pool, name string, streams, each int, data []byte) writeFunc {
	const most = 64
	versions := make([]int64, most)
	return func(ctx context.Context, writer, _ int) error {
		var b eventstore.Batch
		for s := range streams {
			a := eventstore.Append{
				Tenant: events.DefaultTenant, Stream: events.Agent.Stream(fmt.Sprintf("%s-%d-%d", name, writer, s)),
				Expected: versions[writer], Shard: writer % partitions,
			}
			for range each {
				a.Records = append(a.Records, events.Record{
					ID: newID(), Kind: "agent.message_received", SchemaVersion: 1, Time: time.Now(), Correlation: "bench", Data: data,
				})
			}
			b.Add(a)
		}
		q := &pgx.Batch{}
		b.Queue(q)
		if err := db.SendBatch(ctx, q).Close(); err != nil {
			return eventstore.Classify("bench.append", err)
		}
		versions[writer] += int64(each)
		return nil
	}
}

// hammer writes with a number of writers for a while and returns transactions per second.
func hammer(ctx context.Context, writers int, d time.Duration, write writeFunc) (float64, error) {
	var n atomic.Int64
	began := time.Now()
	end := began.Add(d)
	g, gctx := errgroup.WithContext(ctx)
	for w := range writers {
		g.Go(func() error {
			for i := 0; time.Now().Before(end); i++ {
				if err := write(gctx, w, i); err != nil {
					return err
				}
				n.Add(1)
			}
			return nil
		})
	}
	err := g.Wait()
	return float64(n.Load()) / time.Since(began).Seconds(), err
}
