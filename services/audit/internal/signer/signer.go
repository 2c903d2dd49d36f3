// Package signer keeps the key the audit log signs its heads with.
package signer

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/audit/internal/tree"
)

// Key signs heads and verifies them.
type Key struct {
	signer   note.Signer
	verifier note.Verifier
	text     string
}

// Open reads the Ed25519 key in a file and makes the file, readable by its owner alone, if there is none.
// A file others can read is fault.Denied: whoever has the key can sign any history.
func Open(path string) (*Key, error) {
	const op = "audit.key"
	if path == "" {
		return nil, fault.New(fault.Invalid, op, "no key file is named").WithFix("set the audit service's KeyFile")
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, fault.Wrap(fault.Internal, op, "cannot make the key file "+path, err).
				WithFix("make its folder writable for this user")
		}
		info, err = os.Stat(path)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Internal, op, "cannot look at the key file", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fault.Newf(fault.Denied, op, "others can read the key file %s", path).WithFix("chmod 600 " + path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, op, "cannot read the key file", err)
	}
	return parse(string(data), path)
}

func parse(text, path string) (*Key, error) {
	const op = "audit.key"
	private, public, ok := strings.Cut(strings.TrimSpace(text), "\n")
	if !ok {
		return nil, fault.Newf(fault.Invalid, op, "%s is not a key file: it needs a private and a public line", path)
	}
	s, err := note.NewSigner(private)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, op, "the private line of %s is no key", path) // the cause could quote it
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, "the public line of "+path+" is no key", err)
	}
	if s.KeyHash() != v.KeyHash() || s.Name() != v.Name() || s.Name() != tree.Origin {
		return nil, fault.Newf(fault.Invalid, op, "the lines of %s do not belong together", path)
	}
	return &Key{signer: s, verifier: v, text: public}, nil
}

// create writes a fresh key. Of several programs that do so at once one wins and all use its key: the
// link appears whole or not at all.
func create(path string) (err error) {
	private, public, err := note.GenerateKey(rand.Reader, tree.Origin)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".audit-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	_, err = tmp.WriteString(private + "\n" + public + "\n")
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Sign signs the body of a head.
func (k *Key) Sign(text string) (string, error) {
	signed, err := note.Sign(&note.Note{Text: text}, k.signer)
	if err != nil {
		return "", fault.Wrap(fault.Internal, "audit.sign", "cannot sign the head", err)
	}
	return string(signed), nil
}

// VerifierKey is the public key as text, for whoever checks heads elsewhere.
func (k *Key) VerifierKey() string { return k.text }

// Verifiers is the public key for checking notes.
func (k *Key) Verifiers() note.Verifiers { return note.VerifierList(k.verifier) }

// ParseVerifier reads a public key as VerifierKey writes it.
func ParseVerifier(text string) (note.Verifiers, error) {
	v, err := note.NewVerifier(strings.TrimSpace(text))
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "audit.key", "not a verifier key", err).
			WithFix("give the line that begins with " + tree.Origin + "+")
	}
	return note.VerifierList(v), nil
}
