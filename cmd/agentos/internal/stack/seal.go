package stack

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/seal"
	"github.com/agentos-kernel/agentos/libs/service"
)

// keyring is the keyring of a service; nil in an installation that seals nothing.
func keyring(ctx context.Context, db eventstore.Querier, masterKeyFile string) (*seal.Keyring, error) {
	if masterKeyFile == "" {
		return seal.NewKeyring(ctx, db, nil)
	}
	master, err := seal.ReadMaster(masterKeyFile)
	if err != nil {
		return nil, err
	}
	return seal.NewKeyring(ctx, db, master)
}

// readerRegistry decodes for somebody who only looks: without a master key sealed bodies stay sealed.
func readerRegistry(ctx context.Context, db eventstore.Querier, masterKeyFile string) (*events.Registry, error) {
	reg, err := catalog.New()
	if err != nil || masterKeyFile == "" {
		return reg, err
	}
	master, err := seal.ReadMaster(masterKeyFile)
	if err != nil {
		return nil, err
	}
	keys, err := seal.NewReader(ctx, db, master)
	if err != nil {
		return nil, err
	}
	return reg.Opening(keys.Open), nil
}

// Erased is what erasing a tenant does, or would do.
type Erased struct {
	Tenant string           `json:"tenant"`
	Done   bool             `json:"done"`
	Events int64            `json:"events"` // that nobody can read any more
	Keys   int64            `json:"keys"`   // deleted
	Rows   map[string]int64 `json:"rows"`   // deleted, by service
}

// Erase makes all that a tenant's processes have said unreadable: each service deletes its rows of the
// tenant, then the tenant's data key is deleted. No service may run and no process of the tenant may be
// unfinished. Without confirmed nothing is changed. It may be run again after a crash.
func Erase(ctx context.Context, infra *Infra, cfg Config, tenant string, confirmed bool) (out Erased, err error) {
	out = Erased{Tenant: tenant, Rows: map[string]int64{}}
	conn, err := infra.owner(ctx)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if err := service.Hold(ctx, conn, ServiceNames()); err != nil {
		return out, err
	}
	n := &Node{cfg: cfg, infra: infra}
	defer n.close()
	for _, p := range parts() {
		if err := n.add(ctx, p, nil); err != nil {
			return out, err
		}
	}
	if err := n.mayErase(ctx, conn, tenant, &out); err != nil || !confirmed {
		return out, err
	}
	for _, rt := range n.runtimes {
		rows, err := rt.Erase(ctx, tenant)
		if err != nil {
			return out, err
		}
		out.Rows[rt.Definition().Name] = rows
	}
	out.Keys, err = seal.Erase(ctx, conn, tenant)
	out.Done = err == nil
	return out, err
}

// mayErase refuses what cannot be erased whole.
func (n *Node) mayErase(ctx context.Context, conn *pgx.Conn, tenant string, out *Erased) error {
	const op = "stack.erase"
	for _, rt := range n.runtimes {
		at, err := rt.Unfinished(ctx, tenant)
		if err != nil {
			return err
		}
		if len(at) > 0 {
			return fault.Newf(fault.Conflict, op, "%d processes of tenant %q have not ended: %s", len(at), tenant, someOf(at)).
				WithFix("start the kernel, end them with `agentos kill PID`, and stop it again")
		}
	}
	bodies, err := seal.Count(ctx, conn, tenant)
	if err != nil {
		return err
	}
	out.Events = bodies.Sealed
	switch {
	case bodies.Plain > 0:
		return fault.Newf(fault.Denied, op, "%d events of tenant %q were written before bodies were sealed and would stay readable", bodies.Plain, tenant).
			WithFix("only what is written with " + seal.Variable + " set can be erased: the audit log proves the bytes as they are")
	case bodies.Sealed == 0:
		return fault.Newf(fault.NotFound, op, "tenant %q has no events", tenant).WithFix("check the name of the tenant")
	}
	return nil
}

// someOf is the first of many names.
func someOf(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// Rekey wraps the data keys of all tenants with another master key. No service may run.
func Rekey(ctx context.Context, infra *Infra, fromFile, toFile string) (n int64, err error) {
	from, err := seal.ReadMaster(fromFile)
	if err != nil {
		return 0, err
	}
	to, err := seal.ReadMaster(toFile)
	if err != nil {
		return 0, err
	}
	conn, err := infra.owner(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if err := service.Hold(ctx, conn, ServiceNames()); err != nil {
		return 0, err
	}
	return seal.Rekey(ctx, conn, from, to)
}

// owner connects as the owner of the event store.
func (i *Infra) owner(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, i.DatabaseURL)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "stack.owner", "the database does not answer", err).
			WithFix("start it with `agentos serve infra`")
	}
	return conn, nil
}
