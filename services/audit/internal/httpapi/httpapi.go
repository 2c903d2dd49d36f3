// Package httpapi serves the audit routes.
package httpapi

import (
	"context"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/api/auditapi"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
	"github.com/agentos-kernel/agentos/services/audit/internal/store"
	"github.com/agentos-kernel/agentos/services/audit/internal/verify"
)

// proofType is the media type in which a proof is a tlog-proof file.
const proofType = "text/plain"

// API serves the routes tagged audit.
type API struct {
	db          store.Execer
	verifierKey string
	verify      func(ctx context.Context) (verify.Report, error)
	busy        chan struct{} // one verification at a time: it reads everything
}

var _ auditapi.ServerInterface = (*API)(nil)

// Register adds the routes to a group.
func Register(g *echo.Group, db store.Execer, verifierKey string, run func(ctx context.Context) (verify.Report, error)) {
	auditapi.RegisterHandlers(g, &API{db: db, verifierKey: verifierKey, verify: run, busy: make(chan struct{}, 1)})
}

// GetAuditHead implements auditapi.ServerInterface.
func (a *API) GetAuditHead(c echo.Context) error {
	h, err := store.Newest(c.Request().Context(), a.db)
	if err != nil {
		return err
	}
	out := api.AuditHead{Size: h.Size, Note: h.Note, VerifierKey: a.verifierKey}
	if h.Size > 0 {
		out.Root = hex.EncodeToString(h.Root[:])
	}
	return c.JSON(http.StatusOK, out)
}

// GetAuditProof implements auditapi.ServerInterface. With "Accept: text/plain" the answer is a file in
// the format c2sp.org/tlog-proof, which can be checked offline.
func (a *API) GetAuditProof(c echo.Context, eventID api.EventID) error {
	if uuid.Validate(eventID) != nil {
		return fault.Newf(fault.Invalid, "audit.proof", "%q is not an event id", eventID).
			WithFix("event ids are UUIDs; see GET /v1/agents/{pid}/events")
	}
	ctx := c.Request().Context()
	index, leaf, err := store.Find(ctx, a.db, httpserver.Tenant(c), eventID)
	if err != nil {
		return err
	}
	proof, head, err := store.Prove(ctx, a.db, index)
	if err != nil {
		return err
	}
	if strings.HasPrefix(c.Request().Header.Get(echo.HeaderAccept), proofType) {
		return c.Blob(http.StatusOK, proofType+"; charset=utf-8", []byte(proof.Text()))
	}
	hash := tlog.RecordHash(leaf)
	hashes := make([]string, len(proof.Hashes))
	for i, h := range proof.Hashes {
		hashes[i] = hex.EncodeToString(h[:])
	}
	return c.JSON(http.StatusOK, api.AuditProof{
		EventID: eventID, Index: index, Size: head.Size, LeafHash: hex.EncodeToString(hash[:]),
		Proof: hashes, Root: hex.EncodeToString(head.Root[:]), Note: proof.Note,
	})
}

// VerifyAudit implements auditapi.ServerInterface.
func (a *API) VerifyAudit(c echo.Context) error {
	ctx := c.Request().Context()
	select {
	case a.busy <- struct{}{}:
		defer func() { <-a.busy }()
	case <-ctx.Done():
		return fault.Wrap(fault.Canceled, "audit.verify", "given up while another verification ran", ctx.Err())
	}
	r, err := a.verify(ctx)
	if err != nil {
		return err
	}
	out := api.AuditVerification{
		OK: r.OK, Size: r.Size, Root: hex.EncodeToString(r.Root[:]), Checked: r.Checked, Heads: r.Heads, Pending: r.Pending,
	}
	if b := r.FirstBad; b != nil {
		out.FirstBad = &api.AuditBad{Index: b.Index, EventID: b.EventID, Reason: b.Reason}
	}
	return c.JSON(http.StatusOK, out)
}
