package audit

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/note"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/services/audit/internal/core"
	"github.com/agentos-kernel/agentos/services/audit/internal/signer"
	"github.com/agentos-kernel/agentos/services/audit/internal/tree"
	"github.com/agentos-kernel/agentos/services/audit/internal/verify"
)

// Verify reads the log in a database without the service running. The role must be able to read the
// schemas audit and eventstore; keys come from [Verifiers] or a service's key file.
func Verify(ctx context.Context, db *pgxpool.Pool, keys note.Verifiers) (Report, error) {
	return verify.Run(ctx, db, keys)
}

// Verifiers reads a verifier key as VerifierKey writes it.
func Verifiers(verifierKey string) (note.Verifiers, error) { return signer.ParseVerifier(verifierKey) }

// Leaf is the bytes of a record in the log, for whoever checks a proof.
func Leaf(r events.Record) []byte { return core.Leaf(&r) }

// CheckProof checks a tlog-proof file, as the proof route serves it, against the record it is about and
// a verifier key. fault.Denied when the record is not in the log under the proof's head.
func CheckProof(proof string, r events.Record, verifierKey string) error {
	p, err := tree.ParseProof(proof)
	if err != nil {
		return err
	}
	keys, err := signer.ParseVerifier(verifierKey)
	if err != nil {
		return err
	}
	return p.Check(core.Leaf(&r), keys)
}
