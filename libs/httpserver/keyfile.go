package httpserver

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const keyBytes = 32 // 256 bits

// EnsureKeyFile is the API key in the file at path: 64 hexadecimal digits. A missing file is made with
// a new random key and mode 0600, whole or not at all; of two that make it at once both get the key of
// the first. A file that others can read, or that holds no key, is refused.
func EnsureKeyFile(path string) (string, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createKey(path); err != nil {
		return "", fault.Wrap(fault.Unavailable, "httpserver.key", "the API key cannot be written to "+path, err).
			WithFix("make the folder writable, or set AGENTOS_HOME to one that is")
	}
	return readKey(path)
}

func readKey(path string) (string, error) {
	const op = "httpserver.key"
	info, err := os.Lstat(path)
	if err != nil {
		return "", fault.Wrap(fault.Unavailable, op, "the API key file cannot be read", err).WithFix("check " + path)
	}
	if !info.Mode().IsRegular() {
		return "", fault.Newf(fault.Denied, op, "%s is not a plain file", path).
			WithFix("remove it; a new key is made at the next start")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fault.Newf(fault.Denied, op, "others can read the API key: %s has mode %04o", path, mode).
			WithFix("chmod 600 " + path + "; if others may have read it, remove it instead and a new key is made")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fault.Wrap(fault.Unavailable, op, "the API key file cannot be read", err).
			WithFix("let the account of this program read " + path + ", or set AGENTOS_HOME to a folder of its own")
	}
	key := strings.TrimSpace(string(raw))
	if decoded, err := hex.DecodeString(key); err != nil || len(decoded) != keyBytes {
		return "", fault.Newf(fault.Invalid, op, "%s holds no API key", path).
			WithFix("remove it; a new key is made at the next start")
	}
	return key, nil
}

// createKey writes a new key beside path and links it there: a link never replaces a file and never
// shows half of one.
func createKey(path string) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	f, err := os.CreateTemp(dir, ".api-key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	secret := make([]byte, keyBytes)
	if _, err := rand.Read(secret); err != nil {
		return errors.Join(fmt.Errorf("get randomness: %w", err), f.Close())
	}
	_, err = f.WriteString(hex.EncodeToString(secret) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("link file: %w", err)
	}
	return nil
}
