package service

import (
	"context"
	"errors"
	"hash/fnv"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// presence is a connection that every running replica of a service holds for two reasons. Its session
// has a shared advisory lock, by which `agentos rebuild` sees that the service is live. And it listens
// for replicas that have committed to a shard whose relay is this one.
type presence struct {
	rt   *Runtime
	conn *pgx.Conn
}

// Every one of the backbone's two-part advisory locks has its name's hash as the first part.
func advisoryKey(name string) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return int32(h.Sum32()) //nolint:gosec // the bits are a key, not a number
}

// LiveKey is the first part of the advisory lock a running replica of a service shares; the second is 0.
func LiveKey(service string) int32 { return advisoryKey("service/" + service) }

func (r *Runtime) channel() string { return "agentos_relay_" + string(r.def.Family) }

// presenceRetry is the pause before a lost connection is made again, and between two tries for the lock.
const presenceRetry = 200 * time.Millisecond

// await opens the connection, however long Postgres is away: a service that is started first waits for
// it, and says so. What a wait cannot mend, such as a wrong password, is an error.
func (p *presence) await(ctx context.Context) error {
	for told := false; ; {
		err := p.open(ctx)
		if err == nil || ctx.Err() != nil || !fault.Is(err, fault.Unavailable) {
			return err
		}
		if !told {
			p.rt.log.WarnContext(ctx, "Postgres does not answer, waiting for it", "error", err,
				"fix", "check that Postgres runs and DATABASE_URL is right")
			told = true
		}
		_ = sleep(ctx, presenceRetry) // open looks at ctx
	}
}

// open connects, shares the lock and listens. While the service's read models are made again it waits.
func (p *presence) open(ctx context.Context) (err error) {
	const op = "service.presence"
	conn, err := pgx.ConnectConfig(ctx, p.rt.deps.DB.Config().ConnConfig.Copy())
	if err != nil {
		return eventstore.Classify(op, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
		}
	}()
	for told := false; ; {
		var ok bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock_shared($1, 0)", LiveKey(p.rt.def.Name)).Scan(&ok); err != nil {
			return eventstore.Classify(op, err)
		}
		if ok {
			break
		}
		if !told {
			p.rt.log.WarnContext(ctx, "waiting for a rebuild of the service to end")
			told = true
		}
		if err := sleep(ctx, presenceRetry); err != nil {
			return err
		}
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{p.rt.channel()}.Sanitize()); err != nil {
		return eventstore.Classify(op, err)
	}
	p.conn = conn
	return nil
}

// run keeps the connection until ctx ends and wakes the relay when another replica asks for it.
func (p *presence) run(ctx context.Context) {
	defer func() { p.close(ctx) }()
	for ctx.Err() == nil {
		if p.conn == nil {
			if err := p.open(ctx); err != nil {
				_ = sleep(ctx, presenceRetry) // the loop looks at ctx
				continue
			}
		}
		n, err := p.conn.WaitForNotification(ctx)
		if err != nil {
			if ctx.Err() == nil {
				p.rt.log.WarnContext(ctx, "presence lost its connection, taking a new one", "error", err)
			}
			p.close(ctx)
			continue
		}
		if shard, err := strconv.Atoi(n.Payload); err == nil && p.rt.relay.holds(shard) {
			p.rt.metrics.notified.Inc()
			p.rt.relay.wake(shard)
			if p.rt.def.Told != nil {
				p.rt.def.Told(shard)
			}
		}
	}
}

func (p *presence) close(ctx context.Context) {
	if p.conn != nil {
		_ = p.conn.Close(context.WithoutCancel(ctx)) // its lock goes with the session either way
		p.conn = nil
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// notifyEvery is the least time between two NOTIFYs of a replica: a NOTIFY holds a lock of the whole
// database while it commits, so it is never part of a commit with facts, and few carry many.
const notifyEvery = 5 * time.Millisecond

type flag = atomic.Bool

// notifier tells other replicas of commits to shards whose relay is theirs.
type notifier struct {
	rt    *Runtime
	asked chan struct{}
	dirty []flag // per shard
}

func newNotifier(rt *Runtime, shards int) *notifier {
	return &notifier{rt: rt, asked: make(chan struct{}, 1), dirty: make([]flag, shards)}
}

// committed is called after a commit with facts.
func (n *notifier) committed(shard int) {
	if n.rt.relay.holds(shard) {
		return
	}
	n.dirty[shard].Store(true)
	select {
	case n.asked <- struct{}{}:
	default:
	}
}

// run sends until ctx ends. A failure is left to the other relay's poll.
func (n *notifier) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.asked:
		}
		var shards []string
		for i := range n.dirty {
			if n.dirty[i].Swap(false) && !n.rt.relay.holds(i) {
				shards = append(shards, strconv.Itoa(i))
			}
		}
		if len(shards) > 0 {
			if _, err := n.rt.deps.DB.Exec(ctx, "SELECT pg_notify($1, s) FROM unnest($2::text[]) AS s", n.rt.channel(), shards); err != nil && ctx.Err() == nil {
				n.rt.log.DebugContext(ctx, "other replicas could not be told of a commit", "error", err)
			}
		}
		if sleep(ctx, notifyEvery) != nil {
			return
		}
	}
}
