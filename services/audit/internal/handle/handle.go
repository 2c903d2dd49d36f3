// Package handle is what the audit service does with its inputs: records go into the log, heads are
// announced.
package handle

import (
	"context"
	"sync"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/services/audit/internal/core"
	"github.com/agentos-kernel/agentos/services/audit/internal/store"
)

// Handler collects the records of each batch into one append. Shards are handled at the same time, so
// there is one collection per unit of work.
type Handler struct {
	streams *service.Streams[core.State]
	changed func() // told after each commit that the log has grown

	mu      sync.Mutex
	batches map[*service.Unit]*store.Batch
}

// New makes a handler; changed must not block.
func New(changed func()) *Handler {
	return &Handler{
		streams: Fold().Streams(),
		changed: changed,
		batches: map[*service.Unit]*store.Batch{},
	}
}

// Handle implements service.Definition.Handle.
func (h *Handler) Handle(ctx context.Context, u *service.Unit, in *service.Input) error {
	if in.Record != nil {
		h.record(u, in.Record)
		return nil
	}
	cmd, ok := in.Command.(core.AnnounceHead)
	if !ok {
		return fault.Newf(fault.Invalid, "audit.handle", "unknown command %T", in.Command)
	}
	stream, err := h.streams.Load(ctx, u, in.Tenant, in.Subject)
	if err != nil {
		return err
	}
	for _, e := range core.Decide(stream.State, cmd) {
		stream.Append(e)
	}
	return nil
}

// record puts a record into the batch's append: one statement, whatever the number of records.
func (h *Handler) record(u *service.Unit, r *events.Record) {
	b := h.batch(u)
	b.Add(r)
	sql, args := b.Statement()
	u.Once("append", sql, args...)
}

func (h *Handler) batch(u *service.Unit) *store.Batch {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.batches[u]
	if b != nil {
		return b
	}
	b = &store.Batch{}
	h.batches[u] = b
	u.AfterCommit(func() {
		h.forget(u)
		h.changed()
	})
	u.OnRollback(func() { h.forget(u) })
	return b
}

func (h *Handler) forget(u *service.Unit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.batches, u)
}
