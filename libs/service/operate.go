package service

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Parked is a record that a service has put aside.
type Parked struct {
	Tenant  string    `json:"tenant"`
	Stream  string    `json:"stream"`
	Version int64     `json:"version"`
	Kind    string    `json:"kind"`
	Reason  string    `json:"reason"`
	State   string    `json:"state"` // parked, retry, drop: asked for and not done yet; dropped
	At      time.Time `json:"at"`
}

// ListParked is what a service has parked, of one stream if stream is not empty, in order of the streams
// and their versions. conn is of the service's role.
func ListParked(ctx context.Context, conn *pgx.Conn, stream string) ([]Parked, error) {
	const op = "service.list_parked"
	rows, err := conn.Query(ctx, `SELECT tenant, stream, version, kind, reason, state, at FROM parked
		WHERE $1 = '' OR stream = $1 ORDER BY tenant, stream, version`, stream)
	if err != nil {
		return nil, eventstore.Classify(op, err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Parked, err error) {
		err = row.Scan(&p.Tenant, &p.Stream, &p.Version, &p.Kind, &p.Reason, &p.State, &p.At)
		p.At = p.At.UTC()
		return p, err
	})
	return out, eventstore.Classify(op, err)
}

// RetryParked asks for the parked records of a stream to be handled again, in order. The replica that
// owns the stream does it within seconds, or when the service is started next. It returns how many there
// are; fault.NotFound when none is.
func RetryParked(ctx context.Context, conn *pgx.Conn, tenant, stream string) (int64, error) {
	return askParked(ctx, conn, `UPDATE parked SET state = 'retry' WHERE tenant = $1 AND stream = $2 AND state IN ('parked', 'retry')`,
		tenant, stream)
}

// DropParked asks for the first parked record of a stream to be skipped, and for those behind it to be
// handled. It is kept as dropped.
func DropParked(ctx context.Context, conn *pgx.Conn, tenant, stream string) (int64, error) {
	return askParked(ctx, conn, `UPDATE parked SET state = CASE WHEN version = (SELECT min(version) FROM parked
			WHERE tenant = $1 AND stream = $2 AND state <> 'dropped') THEN 'drop' ELSE 'retry' END
		WHERE tenant = $1 AND stream = $2 AND state <> 'dropped'`, tenant, stream)
}

func askParked(ctx context.Context, conn *pgx.Conn, sql, tenant, stream string) (int64, error) {
	const op = "service.ask_parked"
	tag, err := conn.Exec(ctx, sql, tenant, stream)
	if err != nil {
		return 0, eventstore.Classify(op, err)
	}
	if tag.RowsAffected() == 0 {
		return 0, fault.Newf(fault.NotFound, op, "nothing of stream %q of tenant %q is parked", stream, tenant).
			WithFix("`agentos parked ls` lists what is")
	}
	return tag.RowsAffected(), nil
}

// Live reports whether a replica of the service runs.
func Live(ctx context.Context, conn *pgx.Conn, service string) (bool, error) {
	var free bool
	err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1, 0)`, LiveKey(service)).Scan(&free)
	if err == nil && free {
		_, err = conn.Exec(ctx, `SELECT pg_advisory_unlock($1, 0)`, LiveKey(service))
	}
	return !free, eventstore.Classify("service.live", err)
}

// DropSnapshots drops a service's snapshots of some streams, given as pairs of tenant and stream. conn may
// write in the service's schema.
func DropSnapshots(ctx context.Context, conn *pgx.Conn, schema string, tenant, stream []string) error {
	_, err := conn.Exec(ctx, `DELETE FROM `+pgx.Identifier{schema, "snapshots"}.Sanitize()+`
		WHERE (tenant, stream) IN (SELECT * FROM unnest($1::text[], $2::text[]))`, tenant, stream)
	return eventstore.Classify("service.drop_snapshots", err)
}

const republishPage = 1000

// Republish writes the events at positions from..to to the broker again, in order of their positions and
// so of each stream's versions; to 0 is the last safe one. What consumers have they drop by stream
// version. It returns how many were written and the last position.
func Republish(ctx context.Context, conn eventstore.Querier, pub *bus.Publisher, from, to int64) (n, last int64, err error) {
	safe, err := eventstore.SafeNow(ctx, conn)
	if err != nil {
		return 0, 0, err
	}
	if to == 0 || to > safe {
		to = safe
	}
	for after := max(from-1, 0); ; {
		recs, err := eventstore.ReadAll(ctx, conn, after, to, republishPage)
		if err != nil {
			return n, last, err
		}
		byTopic := map[string][]*message.Message{}
		for _, r := range recs {
			topic := r.Family().Topic()
			byTopic[topic] = append(byTopic[topic], ToMessage(r))
		}
		for topic, msgs := range byTopic {
			if err := pub.PublishContext(ctx, topic, msgs...); err != nil {
				return n, last, err
			}
		}
		n += int64(len(recs))
		if len(recs) > 0 {
			last = recs[len(recs)-1].Position
			after = last
		}
		if len(recs) < republishPage {
			return n, last, nil
		}
	}
}
