package stack

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/audit"
	contextsvc "github.com/agentos-kernel/agentos/services/context"
	"github.com/agentos-kernel/agentos/services/learning"
	llmgateway "github.com/agentos-kernel/agentos/services/llm-gateway"
	"github.com/agentos-kernel/agentos/services/scheduler"
	"github.com/agentos-kernel/agentos/services/tools"
)

// instance is a service as the node needs it.
type instance interface {
	Definition() (service.Definition, error)
	Bind(rt *service.Runtime)
}

// part is one row of the table of services.
type part struct {
	name   string // on the command line
	schema string // in the database
	family events.Family
	make   func(n *Node) (instance, error)
	// migrations of the service's own schema; nil when it has none.
	migrations func() (fs.FS, error)
}

// plain adapts services whose definition cannot fail.
type plain struct {
	service interface {
		Definition() service.Definition
		Bind(rt *service.Runtime)
	}
}

func (p plain) Definition() (service.Definition, error) { return p.service.Definition(), nil }
func (p plain) Bind(rt *service.Runtime)                { p.service.Bind(rt) }

// parts lists the six services. A new one is one row here.
func parts() []part {
	return []part{
		{"scheduler", "scheduler", events.Agent, makeScheduler, scheduler.Migrations},
		{
			"context", "context", events.Context, func(*Node) (instance, error) { return plain{contextsvc.New()}, nil },
			func() (fs.FS, error) { return nil, nil },
		},
		{
			"llm-gateway", "llm", events.LLM, makeGateway,
			func() (fs.FS, error) { return nil, nil },
		},
		{"tools", "tools", events.Tool, makeTools, tools.Migrations},
		{"audit", "audit", events.Audit, makeAudit, audit.Migrations},
		{"learning", "learning", events.Learning, makeLearning, learning.Migrations},
	}
}

func makeScheduler(n *Node) (instance, error) {
	if err := n.makeRoots(); err != nil {
		return nil, err
	}
	return scheduler.New(scheduler.Config{
		Bus: n.infra.Bus(n.cfg.Logger), Slots: n.cfg.Slots, WorkspaceRoots: n.cfg.WorkspaceRoots, ForbiddenRoot: n.forbidden(),
	})
}

func makeGateway(n *Node) (instance, error) {
	g, err := llmgateway.New(llmgateway.Config{
		Servers: llmgateway.ServersFromEnv(os.Getenv), CassetteFolders: n.cfg.CassetteFolders, Tracer: n.cfg.Tracer, Grace: n.cfg.GraceTime / 2,
	})
	return plain{g}, err
}

func makeTools(n *Node) (instance, error) {
	t, err := tools.New(tools.Config{CassetteFolders: n.cfg.CassetteFolders, Tracer: n.cfg.Tracer, Grace: n.cfg.GraceTime / 2})
	return plain{t}, err
}

// auditKeyFile is where the key of a data folder is kept that the audit log is signed with.
func auditKeyFile(home string) string { return filepath.Join(home, "audit.key") }

func makeAudit(n *Node) (instance, error) {
	a, err := audit.New(audit.Config{KeyFile: auditKeyFile(n.cfg.Home)})
	return plain{a}, err
}

func makeLearning(*Node) (instance, error) {
	l, err := learning.New(learning.Config{})
	return plain{l}, err
}
