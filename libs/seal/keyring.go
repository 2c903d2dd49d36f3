package seal

import (
	"context"
	"crypto/cipher"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Keyring seals and opens bodies of events. It keeps the data keys it has seen in memory; those of an
// erased tenant are gone only with the process, which is why erasing wants the services stopped.
type Keyring struct {
	db     eventstore.Querier
	master *Master
	load   func(tenant string) error // reads a tenant's keys

	mu   sync.RWMutex
	keys map[keyName]cipher.AEAD // nil: erased
	live map[string]int          // number of the tenant's key in use
}

type keyName struct {
	tenant string
	id     int
}

// loadLimit bounds the read of a tenant's keys in the middle of a decode.
const loadLimit = 10 * time.Second

// NewKeyring is the keyring of a store for a service. db is of its role. The first master key a store is
// used with is the store's from then on: another one, or none, is fault.Invalid. A nil master is right for
// a store that is not sealed: the keyring is nil then.
func NewKeyring(ctx context.Context, db eventstore.Querier, master *Master) (*Keyring, error) {
	given := ""
	if master != nil {
		given = master.id
	}
	return newKeyring(ctx, db, master, given)
}

// NewReader is a keyring for somebody who only reads: the store does not become the master key's.
func NewReader(ctx context.Context, db eventstore.Querier, master *Master) (*Keyring, error) {
	return newKeyring(ctx, db, master, "")
}

func newKeyring(ctx context.Context, db eventstore.Querier, master *Master, given string) (*Keyring, error) {
	const op = "seal.keyring"
	var has string
	if err := db.QueryRow(ctx, "SELECT eventstore.master_key($1)", given).Scan(&has); err != nil {
		return nil, eventstore.Classify(op, err)
	}
	switch {
	case master == nil && has == "":
		return nil, nil
	case master == nil:
		return nil, fault.Newf(fault.Invalid, op, "%s is not set, and the bodies of this event store are sealed", Variable).
			WithFix("set " + Variable + " to the file with the master key they were sealed under")
	case has != master.id && has != "":
		return nil, fault.Newf(fault.Invalid, op, "%s names another master key than the one this event store is sealed with", Variable).
			WithFix("set it to the file with the right key; after `agentos tenant rekey` that is the new one")
	}
	k := &Keyring{db: db, master: master, keys: map[keyName]cipher.AEAD{}, live: map[string]int{}}
	base := context.WithoutCancel(ctx) // bodies are opened until the process ends
	k.load = func(tenant string) error {
		ctx, cancel := context.WithTimeout(base, loadLimit)
		defer cancel()
		return k.read(ctx, tenant)
	}
	return k, nil
}

// read takes a tenant's keys into memory.
func (k *Keyring) read(ctx context.Context, tenant string) error {
	const op = "seal.read_keys"
	rows, err := k.db.Query(ctx, "SELECT id, wrapped FROM eventstore.data_keys_of($1)", tenant)
	if err != nil {
		return eventstore.Classify(op, err)
	}
	type row struct {
		ID      int
		Wrapped []byte
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return eventstore.Classify(op, err)
	}
	for _, r := range found {
		if err := k.keep(tenant, r.ID, r.Wrapped); err != nil {
			return err
		}
	}
	return nil
}

// keep takes one key into memory; without bytes it is an erased one.
func (k *Keyring) keep(tenant string, id int, wrapped []byte) error {
	var aead cipher.AEAD
	if wrapped != nil {
		key, err := k.master.unwrap(tenant, id, wrapped)
		if err != nil {
			return err
		}
		if aead, err = newAEAD(key); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[keyName{tenant, id}] = aead
	if aead != nil {
		k.live[tenant] = id
	}
	return nil
}

func (k *Keyring) get(tenant string, id int) (aead cipher.AEAD, known bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	aead, known = k.keys[keyName{tenant, id}]
	return aead, known
}

func (k *Keyring) current(tenant string) (aead cipher.AEAD, id int, ok bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	id, ok = k.live[tenant]
	return k.keys[keyName{tenant, id}], id, ok
}

// last is the highest number a key of the tenant has had.
func (k *Keyring) last(tenant string) int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	n := 0
	for name := range k.keys {
		if name.tenant == tenant {
			n = max(n, name.id)
		}
	}
	return n
}

// use is the tenant's key for new bodies; the first use makes it.
func (k *Keyring) use(ctx context.Context, tenant string) (cipher.AEAD, int, error) {
	if aead, id, ok := k.current(tenant); ok {
		return aead, id, nil
	}
	if err := k.read(ctx, tenant); err != nil {
		return nil, 0, err
	}
	if aead, id, ok := k.current(tenant); ok {
		return aead, id, nil
	}
	id := k.last(tenant) + 1
	var wrapped []byte
	err := k.db.QueryRow(ctx, "SELECT eventstore.add_data_key($1, $2, $3)", tenant, id, k.master.wrap(tenant, id, newKey())).Scan(&wrapped)
	if err != nil {
		return nil, 0, eventstore.Classify("seal.make_key", err)
	}
	if err := k.keep(tenant, id, wrapped); err != nil {
		return nil, 0, err
	}
	aead, id, ok := k.current(tenant)
	if !ok {
		return nil, 0, fault.Newf(fault.Conflict, "seal.make_key", "the data of tenant %q is being erased", tenant)
	}
	return aead, id, nil
}

// Seal replaces the body of a record that is about to be appended to a tenant's stream by its ciphertext.
// A body cannot be moved to another record: tenant, stream, id, kind and schema version are bound to it.
// It is the one place where bodies are sealed.
func (k *Keyring) Seal(ctx context.Context, tenant, stream string, r *events.Record) error {
	if slices.Contains(events.InstallationStreams(), stream) {
		return nil
	}
	aead, id, err := k.use(ctx, tenant)
	if err != nil {
		return err
	}
	out := make([]byte, 0, len(events.SealMark)+4+len(r.Data)+aead.Overhead())
	out = append(out, events.SealMark...)
	out = binary.BigEndian.AppendUint32(out, uint32(id))                 //nolint:gosec // counts from 1
	r.Data = aead.Seal(out, nil, r.Data, bodyContext(tenant, stream, r)) //nolint:gosec // the cipher draws the nonce
	return nil
}

// Open implements events.Opener.
func (k *Keyring) Open(r events.Record) ([]byte, error) {
	const op = "seal.open"
	rest := r.Data[len(events.SealMark):]
	if len(rest) < 4 {
		return nil, fault.Newf(fault.Invalid, op, "the sealed body of event %s is cut short", r.ID)
	}
	id := int(binary.BigEndian.Uint32(rest))
	aead, known := k.get(r.Tenant, id)
	if !known { // another process has made it
		if err := k.load(r.Tenant); err != nil {
			return nil, err
		}
		if aead, known = k.get(r.Tenant, id); !known {
			return nil, fault.Newf(fault.Invalid, op, "event %s is sealed with key %d of tenant %q, which there never was", r.ID, id, r.Tenant)
		}
	}
	if aead == nil {
		return nil, &events.ErasedError{Tenant: r.Tenant}
	}
	data, err := aead.Open(nil, nil, rest[4:], bodyContext(r.Tenant, r.Stream, &r))
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, "the sealed body of event "+r.ID+" was changed or belongs to another event", err)
	}
	return data, nil
}

// bodyContext is what a body is bound to. Each part has its length before it, so that no two differ only in
// where one ends.
func bodyContext(tenant, stream string, r *events.Record) []byte {
	b := make([]byte, 0, 64+len(tenant)+len(stream)+len(r.ID)+len(r.Kind))
	for _, s := range []string{tenant, stream, r.ID, r.Kind} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // names are short
		b = append(b, s...)
	}
	return binary.BigEndian.AppendUint32(b, uint32(r.SchemaVersion)) //nolint:gosec // counts from 1 by hand
}
