package store

import (
	"context"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/audit/internal/tree"
)

// Sign makes and stores a head over all leaves, if there are leaves the newest head does not cover.
// It returns the newest head and whether it is new. A head that would not contain the one before it is
// never signed: that is fault.Internal, and somebody has changed the log.
func Sign(ctx context.Context, db Execer, sign func(text string) (string, error)) (Head, bool, error) {
	const op = "audit.sign_head"
	const fix = "run `agentos audit verify` and restore the database from a backup"
	last, err := Newest(ctx, db)
	if err != nil {
		return Head{}, false, err
	}
	size, err := Size(ctx, db)
	if err != nil || size == last.Size {
		return last, false, err
	}
	if size < last.Size {
		return last, false, fault.Newf(fault.Internal, op, "the audit log has %d entries, its newest head %d", size, last.Size).WithFix(fix)
	}
	hashes := Hashes(ctx, db)
	root, err := tlog.TreeHash(size, hashes)
	if err != nil {
		return last, false, fault.Wrap(fault.KindOf(err), op, "cannot compute the root", err)
	}
	if last.Size > 0 {
		proof, err := tlog.ProveTree(size, last.Size, hashes)
		if err == nil {
			err = tlog.CheckTree(proof, size, root, last.Size, last.Root)
		}
		if err != nil {
			return last, false, fault.Wrap(fault.Internal, op, "the audit log no longer contains its newest head", err).WithFix(fix)
		}
	}
	text, err := sign(tree.HeadText(size, root))
	if err != nil {
		return last, false, err
	}
	head := Head{Size: size, Root: root, Note: text}
	return head, true, InsertHead(ctx, db, head)
}

// Prove is the inclusion proof of a leaf under the newest head; fault.Unavailable while no head covers it.
func Prove(ctx context.Context, db Execer, index int64) (tree.Proof, Head, error) {
	const op = "audit.prove"
	head, err := Newest(ctx, db)
	if err != nil {
		return tree.Proof{}, Head{}, err
	}
	if index >= head.Size {
		return tree.Proof{}, Head{}, fault.New(fault.Unavailable, op, "the entry is not yet under a signed head").
			WithFix("try again in a second")
	}
	hashes, err := tlog.ProveRecord(head.Size, index, Hashes(ctx, db))
	if err != nil {
		return tree.Proof{}, Head{}, fault.Wrap(fault.KindOf(err), op, "cannot prove the entry", err)
	}
	return tree.Proof{Index: index, Hashes: hashes, Note: head.Note}, head, nil
}
