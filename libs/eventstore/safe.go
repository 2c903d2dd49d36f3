package eventstore

import (
	"context"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const (
	settleLimit = 10 * time.Second // for writers that are active when SafeNow is called
	settlePoll  = 10 * time.Millisecond
)

// SafeNow is a position at least as high as all events committed before the call, below which nothing
// can appear any more. Writers that are active at the call are waited for: fault.Unavailable when one
// takes too long.
func SafeNow(ctx context.Context, q Querier) (int64, error) {
	const op = "eventstore.safe_now"
	var newest int64
	if err := q.QueryRow(ctx, `SELECT coalesce(max(pos), 0) FROM eventstore.events`).Scan(&newest); err != nil {
		return 0, Classify(op, err)
	}
	var mark Watermark
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	poll := time.NewTicker(settlePoll)
	defer poll.Stop()
	for {
		safe, err := mark.Advance(ctx, q)
		if err != nil || safe >= newest {
			return safe, err
		}
		select {
		case <-ctx.Done():
			return 0, fault.Wrap(fault.Unavailable, op, "a transaction in this Postgres has been open for too long", ctx.Err()).
				WithFix("look for it in pg_stat_activity and end it, then try again")
		case <-poll.C:
		}
	}
}
