package verify

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/libs/eventstore"
)

// absentSQL is the events that should be in the log and are not. The service's position in a stream is
// moved by the transaction that writes the leaves: behind it nothing can be on its way.
const absentSQL = `SELECT e.pos, e.event_id::text AS id, e.stream, e.version, e.version <= coalesce(p.version, 0) AS passed,
	e.time < now() - $1::interval AS late, k.reason
	FROM eventstore.events e
	LEFT JOIN audit.leaves l ON l.tenant = e.tenant AND l.stream = e.stream AND l.version = e.version
	LEFT JOIN audit.positions p ON p.tenant = e.tenant AND p.stream = e.stream
	LEFT JOIN audit.parked k ON k.tenant = e.tenant AND k.stream = e.stream AND k.version = e.version
	WHERE l.idx IS NULL AND NOT starts_with(e.stream, 'audit/')`

// missing looks for events that have no entry. Those the audit service has not read yet are pending, for
// at most MaxLag; one it has passed over is bad.
func (v *verifier) missing(ctx context.Context) error {
	const op = "audit.verify"
	err := v.db.QueryRow(ctx, `SELECT count(*) FROM (`+absentSQL+`) AS x WHERE NOT passed AND NOT late`, MaxLag).
		Scan(&v.report.Pending)
	if err != nil {
		return eventstore.Classify(op, err)
	}
	var id, stream string
	var version, pos int64
	var passed, late bool
	var parked *string
	err = v.db.QueryRow(ctx, `SELECT * FROM (`+absentSQL+`) AS x WHERE passed OR late ORDER BY pos LIMIT 1`, MaxLag).
		Scan(&pos, &id, &stream, &version, &passed, &late, &parked)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return eventstore.Classify(op, err)
	case parked != nil:
		v.bad(v.report.Size, id, "%s version %d was set aside and is not in the log: %s", stream, version, *parked)
	case passed:
		v.bad(v.report.Size, id, "%s version %d is in the event store and not in the log", stream, version)
	default:
		v.bad(v.report.Size, id, "%s version %d has not reached the log for more than %s: does the audit service run?",
			stream, version, MaxLag.Round(time.Second))
	}
	return nil
}
