package events

import (
	"bytes"
	"fmt"
)

// SealMark is what a sealed body begins with. JSON never does.
const SealMark = "\x00AOS\x01"

// Sealed reports whether a body is sealed: it is stored, sent and hashed as ciphertext.
func Sealed(data []byte) bool { return bytes.HasPrefix(data, []byte(SealMark)) }

// InstallationStreams are about the installation itself: catalogues and the heads of the audit log. Their
// bodies are never sealed, for they are nobody's and outlive every tenant.
func InstallationStreams() []string { return []string{"llm/registry", "tool/registry", "audit/log"} }

// Opener gives the JSON of a record whose body is sealed; *ErasedError when nobody can any more.
type Opener func(Record) ([]byte, error)

// ErasedError says that the body of a record is gone for good: the key it was sealed with was deleted.
type ErasedError struct{ Tenant string }

func (e *ErasedError) Error() string {
	return fmt.Sprintf("the data of tenant %q was erased", e.Tenant)
}

// SealedError says that a body is sealed and no key was given.
type SealedError struct{ Tenant string }

func (e *SealedError) Error() string {
	return fmt.Sprintf("the data of tenant %q is sealed, and this program has no master key", e.Tenant)
}

// Opening is the registry with a way to open sealed bodies.
func (r *Registry) Opening(open Opener) *Registry { return &Registry{types: r.types, open: open} }

// Body is a record's JSON. It is the one place where sealed bodies are opened.
func (r *Registry) Body(rec Record) ([]byte, error) {
	switch {
	case !Sealed(rec.Data):
		return rec.Data, nil
	case r.open == nil:
		return nil, &SealedError{Tenant: rec.Tenant}
	}
	return r.open(rec)
}
