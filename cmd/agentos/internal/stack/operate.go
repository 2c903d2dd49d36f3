package stack

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
)

// ServiceNames lists the services as the command line names them.
func ServiceNames() []string {
	all := parts()
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.name
	}
	return names
}

func findPart(name string) (part, error) {
	for _, p := range parts() {
		if p.name == name || p.schema == name {
			return p, nil
		}
	}
	return part{}, fault.Newf(fault.Invalid, "stack.service", "no service is named %q", name).
		WithFix("name one of " + strings.Join(ServiceNames(), ", "))
}

// Operator is a connection for work on one service's data.
type Operator struct {
	*pgx.Conn
	Name     string // of the service, as its runtime has it
	Registry *events.Registry
}

// Operate connects as a service's role. Sealed bodies can be read with the master key.
func (i *Infra) Operate(ctx context.Context, name, masterKeyFile string) (*Operator, error) {
	p, err := findPart(name)
	if err != nil {
		return nil, err
	}
	url, err := eventstore.ServiceURL(i.DatabaseURL, p.schema, i.Roles[p.schema])
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "stack.operate", "the database does not answer", err).
			WithFix("start the kernel with `agentos up`, or the database with `agentos serve infra`")
	}
	op := &Operator{Conn: conn, Name: p.name}
	if op.Registry, err = readerRegistry(ctx, conn, masterKeyFile); err != nil {
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	return op, nil
}

// Rebuild makes the read models of a service again, or compares them with verify; see
// service.Runtime.Rebuild. The service must not run.
func Rebuild(ctx context.Context, infra *Infra, cfg Config, name string, verify bool) (service.RebuildResult, error) {
	p, err := findPart(name)
	if err != nil {
		return service.RebuildResult{}, err
	}
	n := &Node{cfg: cfg, infra: infra}
	defer n.close()
	if err := n.add(ctx, p, nil); err != nil {
		return service.RebuildResult{}, err
	}
	return n.runtimes[0].Rebuild(ctx, verify)
}

// Topics lists the topics as they are made, for those who want to read what Prepare does.
func (i *Infra) Topics() []string {
	specs := topics(i.Partitions)
	names := make([]string, len(specs))
	for k, s := range specs {
		names[k] = s.Name
	}
	return names
}

// Emitter is the service that alone writes a family of events.
func Emitter(f events.Family) string {
	for _, p := range parts() {
		if p.family == f {
			return p.name
		}
	}
	return ""
}
