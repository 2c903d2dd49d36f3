// Package seal keeps what tenants wrote readable for as long as they have a key, and no longer.
//
// Each tenant has a random data key, wrapped by the master key, in the event store. Bodies of events are
// sealed with it before they are stored, so that the same ciphertext is stored, sent and hashed. Deleting
// a tenant's data key erases its bodies everywhere at once, on the broker and in backups of the events as
// well, and the audit log, whose leaves are ciphertext, still proves what was there.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// Variable names the environment variable with the path of the master key's file.
const Variable = "AGENTOS_MASTER_KEY_FILE"

const keyBytes = 32 // AES-256

// Master is the key that wraps the tenants' data keys.
type Master struct {
	id   string // tells master keys apart and says nothing of the key
	aead cipher.AEAD
}

// ReadMaster is the master key in a file: 32 bytes as 64 hexadecimal digits or in base64. The file may be
// read by its owner and, as in a mounted secret, by its group.
func ReadMaster(path string) (*Master, error) {
	const op = "seal.master"
	info, err := os.Stat(path)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, Variable+": the master key cannot be read", err).
			WithFix("name a file made with `agentos keys master FILE`")
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return nil, fault.Newf(fault.Denied, op, "%s: others can read the master key: %s has mode %04o", Variable, path, mode).
			WithFix("chmod 600 " + path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, Variable+": the master key cannot be read", err).WithFix("check " + path)
	}
	key, ok := parseKey(strings.TrimSpace(string(raw)))
	if !ok {
		return nil, fault.Newf(fault.Invalid, op, "%s: %s does not hold a master key: 32 bytes in hexadecimal or base64", Variable, path).
			WithFix("make one with `agentos keys master FILE`")
	}
	return newMaster(key)
}

func newMaster(key []byte) (*Master, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("agentos master key id")) // never fails
	return &Master{id: hex.EncodeToString(mac.Sum(nil)[:16]), aead: aead}, nil
}

func parseKey(text string) ([]byte, bool) {
	if key, err := hex.DecodeString(text); err == nil && len(key) == keyBytes {
		return key, true
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if key, err := enc.DecodeString(text); err == nil && len(key) == keyBytes {
			return key, true
		}
	}
	return nil, false
}

// MakeMasterFile writes a new random master key to a file that does not exist yet, with mode 0600.
func MakeMasterFile(path string) error {
	const op = "seal.make_master"
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fault.Newf(fault.Conflict, op, "%s exists", path).WithFix("name a new file: what a master key sealed is lost with it")
	}
	if err != nil {
		return fault.Wrap(fault.Invalid, op, "the master key cannot be written", err).WithFix("name a file in a folder you can write")
	}
	_, err = f.WriteString(hex.EncodeToString(newKey()) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fault.Wrap(fault.Unavailable, op, "the master key cannot be written", errors.Join(err, os.Remove(path)))
	}
	return nil
}

func newKey() []byte {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // crypto/rand.Read never fails
	return key
}

// newAEAD is AES-256-GCM with a random nonce before each ciphertext: safe for 2^32 bodies of one key.
func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "seal.cipher", "AES refuses the key", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "seal.cipher", "GCM refuses the cipher", err)
	}
	return aead, nil
}

// wrap seals a tenant's data key.
func (m *Master) wrap(tenant string, id int, key []byte) []byte {
	return m.aead.Seal(nil, nil, key, keyContext(tenant, id)) //nolint:gosec // the cipher draws the nonce
}

func (m *Master) unwrap(tenant string, id int, wrapped []byte) ([]byte, error) {
	key, err := m.aead.Open(nil, nil, wrapped, keyContext(tenant, id))
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "seal.unwrap", fmt.Sprintf("data key %d of tenant %q was not wrapped by this master key", id, tenant), err).
			WithFix("check " + Variable)
	}
	return key, nil
}

// keyContext binds a wrapped key to its tenant and number.
func keyContext(tenant string, id int) []byte {
	return binary.BigEndian.AppendUint32([]byte("agentos data key\x00"+tenant+"\x00"), uint32(id)) //nolint:gosec // counts from 1
}
