package seal

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Bodies counts the events of a tenant that are about its processes.
type Bodies struct {
	Sealed int64
	Plain  int64 // from before sealing: no key keeps them
}

// Count counts a tenant's bodies.
func Count(ctx context.Context, q eventstore.Querier, tenant string) (Bodies, error) {
	var b Bodies
	err := q.QueryRow(ctx, `SELECT count(*) FILTER (WHERE sealed), count(*) FILTER (WHERE NOT sealed) FROM (
			SELECT substring(data FROM 1 FOR length($2::bytea)) = $2::bytea AS sealed FROM eventstore.events
			WHERE tenant = $1 AND NOT stream = ANY($3)) AS x`,
		tenant, []byte(events.SealMark), events.InstallationStreams()).Scan(&b.Sealed, &b.Plain)
	return b, eventstore.Classify("seal.count", err)
}

// Erase deletes a tenant's data key for good and returns how many there were. conn is of the owner of the
// event store. The table is written anew, so that its file keeps no trace of the key.
func Erase(ctx context.Context, conn *pgx.Conn, tenant string) (int64, error) {
	const op = "seal.erase"
	tag, err := conn.Exec(ctx, "UPDATE eventstore.data_keys SET wrapped = NULL, erased_at = now() WHERE tenant = $1 AND wrapped IS NOT NULL", tenant)
	if err != nil {
		return 0, eventstore.Classify(op, err)
	}
	_, err = conn.Exec(ctx, "VACUUM FULL eventstore.data_keys")
	return tag.RowsAffected(), eventstore.Classify(op, err)
}

// Rekey wraps all data keys with another master key, in one transaction, and returns how many there are.
// No event is touched. conn is of the owner of the event store.
func Rekey(ctx context.Context, conn *pgx.Conn, from, to *Master) (n int64, err error) {
	const op = "seal.rekey"
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		n = 0
		var has string
		if err := tx.QueryRow(ctx, "SELECT eventstore.master_key('')").Scan(&has); err != nil {
			return eventstore.Classify(op, err)
		}
		switch has {
		case "":
			return fault.New(fault.NotFound, op, "this event store is not sealed: there is nothing to wrap anew").
				WithFix("start the services with " + Variable + " first")
		case from.id:
		case to.id:
			return fault.New(fault.Conflict, op, "the event store is sealed with the new master key already").
				WithFix("set " + Variable + " to the new file")
		default:
			return fault.Newf(fault.Invalid, op, "%s names another master key than the one this event store is sealed with", Variable).
				WithFix("set it to the file with the key in use now")
		}
		rows, err := tx.Query(ctx, "SELECT tenant, id, wrapped FROM eventstore.data_keys WHERE wrapped IS NOT NULL FOR UPDATE")
		if err != nil {
			return eventstore.Classify(op, err)
		}
		type row struct {
			Tenant  string
			ID      int
			Wrapped []byte
		}
		keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
		if err != nil {
			return eventstore.Classify(op, err)
		}
		var b pgx.Batch
		for _, k := range keys {
			key, err := from.unwrap(k.Tenant, k.ID, k.Wrapped)
			if err != nil {
				return err
			}
			b.Queue("UPDATE eventstore.data_keys SET wrapped = $3 WHERE tenant = $1 AND id = $2", k.Tenant, k.ID, to.wrap(k.Tenant, k.ID, key))
		}
		b.Queue("UPDATE eventstore.meta SET value = $1 WHERE key = 'master_key'", to.id)
		n = int64(len(keys))
		return eventstore.Classify(op, tx.SendBatch(ctx, &b).Close())
	})
	return n, err
}
