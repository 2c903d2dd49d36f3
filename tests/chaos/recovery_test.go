package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// stallLimit is how long progress may take to resume before the run counts as standing still.
const stallLimit = 90 * time.Second

// stepEvents is more than the facts of one step in a process's own stream: a process that has had so
// many since has been through all services.
const stepEvents = 5

const (
	endedSQL = `SELECT coalesce(array_agg(substr(stream, 7)), '{}') FROM eventstore.events
		WHERE kind IN ('agent.completed', 'agent.failed', 'agent.terminated')`
	headsSQL = `SELECT substr(stream, 7), version FROM eventstore.streams WHERE starts_with(stream, 'agent/')`
)

// recovery waits until every process that has not ended has made a whole step since the fault, and, if
// the fault was to a service that only listens, until that service has heard all there was. It returns
// the time since began.
func (w *world) recovery(ctx context.Context, f fault, began time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, stallLimit)
	defer cancel()
	var before map[string]int64
	var last error
	for tick := time.NewTicker(25 * time.Millisecond); ; {
		now, err := w.heads(ctx)
		var behind []string
		if last = err; err == nil {
			if before == nil {
				before = now
			}
			if behind, err = w.behind(ctx, f, before, now); err == nil && len(behind) == 0 {
				tick.Stop()
				return time.Since(began), nil
			}
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("%d processes have not come further within %s (%s): %w", len(behind), stallLimit, strings.Join(behind, " "), last)
		}
	}
}

// heads is the version of each process's stream.
func (w *world) heads(ctx context.Context) (map[string]int64, error) {
	rows, err := w.db.Query(ctx, headsSQL)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]int64{}
	for rows.Next() {
		var pid string
		var version int64
		if err := rows.Scan(&pid, &version); err != nil {
			return nil, err
		}
		all[pid] = version
	}
	return all, rows.Err()
}

// behind names the processes that have not come far enough since before.
func (w *world) behind(ctx context.Context, f fault, before, now map[string]int64) ([]string, error) {
	if f.Victim == "audit" || f.Victim == "learning" {
		var all []string
		err := w.db.QueryRow(ctx, `SELECT coalesce(array_agg(h.pid), '{}') FROM unnest($1::text[], $2::bigint[]) AS h (pid, version)
			LEFT JOIN `+f.Victim+`.positions p ON p.stream = 'agent/' || h.pid WHERE coalesce(p.version, 0) < h.version`,
			keys(before), values(before)).Scan(&all)
		return all, err
	}
	var slow []string
	for pid, v := range before {
		if now[pid] < v+stepEvents {
			slow = append(slow, pid)
		}
	}
	if len(slow) == 0 {
		return nil, nil
	}
	var ended []string
	if err := w.db.QueryRow(ctx, endedSQL).Scan(&ended); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slow, func(pid string) bool { return slices.Contains(ended, pid) }), nil
}

func keys(m map[string]int64) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func values(m map[string]int64) (all []int64) {
	for _, k := range keys(m) {
		all = append(all, m[k])
	}
	return all
}
