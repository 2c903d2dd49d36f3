// Package audit is the audit service: it keeps every event of every other family, once, as raw bytes in a
// Merkle log in Postgres, signs the log's head as it grows, and proves or disproves that nothing in it
// was changed.
//
// Leaves are appended by one SQL function under an advisory lock, in the transaction that moves the
// service's positions: each event is in the log exactly once, whatever crashes. See internal/core.Leaf for
// the bytes of a leaf.
package audit

import (
	"context"
	"io/fs"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/audit/internal/core"
	"github.com/agentos-kernel/agentos/services/audit/internal/handle"
	"github.com/agentos-kernel/agentos/services/audit/internal/heads"
	"github.com/agentos-kernel/agentos/services/audit/internal/httpapi"
	"github.com/agentos-kernel/agentos/services/audit/internal/signer"
	"github.com/agentos-kernel/agentos/services/audit/internal/store"
	"github.com/agentos-kernel/agentos/services/audit/internal/verify"
)

// Name is the service's name, schema and consumer group.
const Name = "audit"

// Config is the service's configuration.
type Config struct {
	// KeyFile holds the Ed25519 key the heads are signed with; made with mode 0600 if missing. All replicas
	// must have the same one. Required.
	KeyFile string
	// HeadEvery is the least time between two signed heads. Default 200 ms.
	HeadEvery time.Duration
	// AnnounceEvery is the least time between two audit.head_signed events. Default 1 s.
	AnnounceEvery time.Duration
}

// WithDefaults returns a copy with the defaults filled in.
func (c Config) WithDefaults() Config {
	if c.HeadEvery == 0 {
		c.HeadEvery = 200 * time.Millisecond
	}
	if c.AnnounceEvery == 0 {
		c.AnnounceEvery = time.Second
	}
	return c
}

// Report is what a verification found.
type Report = verify.Report

// pace lets many events make one batch: nobody waits for this service.
const pace = 100 * time.Millisecond

// Service is the audit service. Bind must be called before its runtime runs.
type Service struct {
	cfg        Config
	key        *signer.Key
	migrations fs.FS
	handler    *handle.Handler
	rt         *service.Runtime
	loop       *heads.Loop
}

// New opens or makes the signing key. A key file others can read is fault.Denied.
func New(cfg Config) (*Service, error) {
	cfg = cfg.WithDefaults()
	if cfg.HeadEvery < 0 || cfg.AnnounceEvery < 0 {
		return nil, fault.New(fault.Invalid, "audit.new", "HeadEvery and AnnounceEvery must not be negative")
	}
	key, err := signer.Open(cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	migrations, err := store.Migrations()
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "audit.new", "cannot read the embedded migrations", err)
	}
	s := &Service{cfg: cfg, key: key, migrations: migrations}
	s.handler = handle.New(func() { s.loop.Changed() })
	return s, nil
}

// Bind gives the service the runtime that runs its Definition.
func (s *Service) Bind(rt *service.Runtime) {
	s.rt = rt
	s.loop = heads.New(heads.Config{
		Sign: func(ctx context.Context) (store.Head, error) {
			head, _, err := store.Sign(ctx, rt.DB(), s.key.Sign)
			return head, err
		},
		Announce: func(ctx context.Context, cmd core.AnnounceHead) error {
			_, err := rt.Do(ctx, events.DefaultTenant, core.Subject, cmd)
			return err
		},
		Logger:    rt.Logger(),
		SignEvery: s.cfg.HeadEvery, AnnounceEvery: s.cfg.AnnounceEvery, Idle: 5 * s.cfg.AnnounceEvery,
	})
}

// Definition is what the runtime runs.
func (s *Service) Definition() service.Definition {
	return service.Definition{
		Name: Name, Family: events.Audit,
		Consumes:   []events.Family{events.Agent, events.Context, events.LLM, events.Tool, events.Learning},
		Migrations: s.migrations,
		Handle:     s.handler.Handle,
		Fold:       handle.Fold(),
		Pace:       pace,
		Raw:        true, // the log keeps bytes, whatever they say
		Rebuild:    service.Rebuild{Primary: "its log is a primary record, whose order and signed heads nothing else holds; `agentos audit verify` compares it with the events"},
		Routes: func(g *echo.Group) {
			httpapi.Register(g, s.rt.DB(), s.key.VerifierKey(), s.Verify)
		},
		Background: []func(context.Context) error{func(ctx context.Context) error { return s.loop.Run(ctx) }},
	}
}

// VerifierKey is the public key that verifies the heads, as text to hand out.
func (s *Service) VerifierKey() string { return s.key.VerifierKey() }

// Verify reads the whole log again. An error means it could not be read; see Report for what was found.
func (s *Service) Verify(ctx context.Context) (Report, error) {
	return verify.Run(ctx, s.rt.DB(), s.key.Verifiers())
}

// Migrations are the tables of the service's schema.
func Migrations() (fs.FS, error) { return store.Migrations() }
