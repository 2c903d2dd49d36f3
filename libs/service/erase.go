package service

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Hold keeps the named services from running for as long as the session of conn lasts; fault.Conflict with
// the name of one that runs, and then none is held.
func Hold(ctx context.Context, conn *pgx.Conn, services []string) error {
	const op = "service.hold"
	for i, name := range services {
		ok, err := within(ctx, func() (ok bool, err error) {
			err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, 0)", LiveKey(name)).Scan(&ok)
			return ok, eventstore.Classify(op, err)
		})
		if err == nil && ok {
			continue
		}
		if err == nil {
			err = fault.Newf(fault.Conflict, op, "%s is running: what it has in memory would outlive this", name).
				WithFix("stop all services first; `agentos up` users run `agentos serve infra` meanwhile")
		}
		for _, held := range services[:i] {
			_, _ = conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1, 0)", LiveKey(held)) // or with the session
		}
		return err
	}
	return nil
}

// Unfinished names the subjects of a tenant that the service still works on.
func (r *Runtime) Unfinished(ctx context.Context, tenant string) ([]string, error) {
	if r.def.Unfinished == nil {
		return nil, nil
	}
	return r.def.Unfinished(ctx, r.deps.DB, tenant)
}

// Erase deletes a tenant's rows from all tables of the service that have a column tenant, but for positions,
// which say what was done and not what was said, and returns how many there were. Each table is then
// written anew, so that its file keeps no trace of them. A service whose tables are a record of their own
// keeps them: what it has of a tenant is sealed. No replica may run.
func (r *Runtime) Erase(ctx context.Context, tenant string) (n int64, err error) {
	const op = "service.erase"
	if r.def.Rebuild.Primary != "" {
		return 0, nil
	}
	rows, err := r.deps.DB.Query(ctx, `SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		  AND a.attname = 'tenant' AND NOT a.attisdropped AND c.relname <> 'positions' ORDER BY 1`)
	if err != nil {
		return 0, eventstore.Classify(op, err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, eventstore.Classify(op, err)
	}
	err = pgx.BeginFunc(ctx, r.deps.DB, func(tx pgx.Tx) error {
		n = 0
		for _, t := range tables {
			tag, err := tx.Exec(ctx, "DELETE FROM "+pgx.Identifier{t}.Sanitize()+" WHERE tenant = $1", tenant)
			if err != nil {
				return err
			}
			n += tag.RowsAffected()
		}
		return nil
	})
	for i := 0; err == nil && i < len(tables); i++ {
		_, err = r.deps.DB.Exec(ctx, "VACUUM FULL "+pgx.Identifier{tables[i]}.Sanitize())
	}
	return n, eventstore.Classify(op, err)
}
