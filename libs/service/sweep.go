package service

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
)

const (
	sweepEvery = 2500 * time.Millisecond
	sweepPage  = 1000
)

// sweep compares the heads of streams with the consumer's positions, so that an event that Kafka lost
// is handled even when nothing comes after it: at an assignment for all streams, then every few seconds
// for the streams that had events since.
func (r *Runtime) sweep(ctx context.Context) error {
	var mark eventstore.Watermark
	var cursor, next int64
	var lastGen int64
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if gen := r.gens.Load(); gen != lastGen {
			// All streams once: a new consumer, expired retention, a broker that was emptied.
			safe, err := mark.Advance(ctx, r.deps.DB)
			if err == nil {
				err = r.sweepRange(ctx, 0, safe, true)
			}
			if err == nil {
				lastGen, cursor, next = gen, safe, safe
			} else if ctx.Err() == nil {
				r.log.WarnContext(ctx, "sweep failed", "error", err)
			}
		} else if cursor < next {
			if err := r.sweepRange(ctx, cursor, next, false); err == nil {
				cursor = next
			} else if ctx.Err() == nil {
				r.log.WarnContext(ctx, "sweep failed", "error", err)
			}
		}
		if err := r.sweepDoubts(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "sweep of unstored positions failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// What is safe now is checked at the next tick, when it is old enough to have come by Kafka.
		if safe, err := mark.Advance(ctx, r.deps.DB); err == nil {
			if cursor == next {
				next = safe
			}
		}
	}
}

const staleSQL = `SELECT h.tenant, h.stream, coalesce(p.version, 0), h.version
	FROM (SELECT tenant, stream, max(version) AS version FROM eventstore.events
	      WHERE pos > $1 AND pos <= $2 AND split_part(stream, '/', 1) = ANY($3) GROUP BY 1, 2) AS h
	LEFT JOIN positions p USING (tenant, stream)
	WHERE coalesce(p.version, 0) < h.version AND (h.tenant, h.stream) > ($4, $5) ORDER BY 1, 2 LIMIT $6`

const staleAllSQL = `SELECT h.tenant, h.stream, coalesce(p.version, 0), h.version
	FROM eventstore.streams h LEFT JOIN positions p USING (tenant, stream)
	WHERE split_part(h.stream, '/', 1) = ANY($3) AND coalesce(p.version, 0) < h.version
	  AND $1::bigint <= $2::bigint AND (h.tenant, h.stream) > ($4, $5) ORDER BY 1, 2 LIMIT $6`

const staleTheseSQL = `SELECT h.tenant, h.stream, coalesce(p.version, 0), h.version
	FROM unnest($1::text[], $2::text[]) AS k (tenant, stream)
	JOIN eventstore.streams h USING (tenant, stream) LEFT JOIN positions p USING (tenant, stream)
	WHERE coalesce(p.version, 0) < h.version`

// doubts are streams whose position had moved in memory and was not stored when it was forgotten. Kafka
// does not send again what was handled, and the sweep may have passed: they are looked at by name.
type doubts struct {
	mu   sync.Mutex
	keys map[streamKey]struct{}
}

func (d *doubts) add(keys map[streamKey]struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keys == nil {
		d.keys = map[streamKey]struct{}{}
	}
	maps.Copy(d.keys, keys)
}

func (d *doubts) take() map[streamKey]struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys := d.keys
	d.keys = nil
	return keys
}

// sweepDoubts feeds what was handled without effect and not stored as such once more.
func (r *Runtime) sweepDoubts(ctx context.Context) (err error) {
	keys := r.doubts.take()
	if len(keys) == 0 {
		return nil
	}
	defer func() {
		if err != nil {
			r.doubts.add(keys)
		}
	}()
	tenants, streams := make([]string, 0, len(keys)), make([]string, 0, len(keys))
	for k := range keys {
		tenants, streams = append(tenants, k.tenant), append(streams, k.stream)
	}
	stale, err := r.stale(ctx, staleTheseSQL, tenants, streams)
	if err != nil {
		return err
	}
	for _, st := range stale {
		if err := r.sweepStream(ctx, st); err != nil {
			return err
		}
	}
	return nil
}

type staleStream struct {
	key      streamKey
	from, to int64
}

// sweepRange feeds what consumers miss of the events in (after, upTo].
func (r *Runtime) sweepRange(ctx context.Context, after, upTo int64, all bool) error {
	sql := staleSQL
	if all {
		sql = staleAllSQL
	}
	families := make([]string, 0, len(r.def.Consumes))
	for _, f := range r.def.Consumes {
		families = append(families, string(f))
	}
	var last streamKey
	for {
		stale, err := r.stale(ctx, sql, after, upTo, families, last.tenant, last.stream, sweepPage)
		if err != nil {
			return err
		}
		for _, st := range stale {
			if err := r.sweepStream(ctx, st); err != nil {
				return err
			}
			last = st.key
		}
		if len(stale) < sweepPage {
			return nil
		}
	}
}

func (r *Runtime) stale(ctx context.Context, sql string, args ...any) ([]staleStream, error) {
	rows, err := r.deps.DB.Query(ctx, sql, args...)
	if err != nil {
		return nil, eventstore.Classify("service.sweep", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s staleStream, err error) {
		return s, row.Scan(&s.key.tenant, &s.key.stream, &s.from, &s.to)
	})
	return out, eventstore.Classify("service.sweep", err)
}

// sweepStream feeds the missing tail of one stream. Its last record is enough: the shard fills the gap.
func (r *Runtime) sweepStream(ctx context.Context, s staleStream) error {
	id := r.Shard(events.SubjectOf(s.key.stream))
	if r.shards[id].gen.Load() == 0 {
		return nil
	}
	recs, err := eventstore.ReadStream(ctx, r.deps.DB, s.key.tenant, s.key.stream, s.to-1, 1)
	if err != nil || len(recs) == 0 {
		return err
	}
	r.metrics.swept.Inc()
	return r.feed(ctx, id, []*Input{r.recordInput(&recs[0])})
}
