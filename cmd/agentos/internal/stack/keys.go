package stack

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
)

// PasswordFile is where the password of a database made for this installation is kept.
func PasswordFile(home string) string { return filepath.Join(home, "database.password") }

// MakeKeys makes the secrets of an installation in home that are not there yet: the API key, the key the audit
// log is signed with, the passwords of the services' roles, and that of the database itself. It gives their
// files. Services that run apart share them.
func MakeKeys(home string) ([]string, error) {
	const op = "stack.keys"
	if err := os.MkdirAll(home, 0o711); err != nil { //nolint:gosec // what is secret in it is 0600
		return nil, fault.Wrap(fault.Invalid, op, "cannot make the data folder", err).WithFix("set AGENTOS_HOME to a folder you can write")
	}
	if _, err := httpserver.EnsureKeyFile(KeyFile(home)); err != nil {
		return nil, err
	}
	passwords := filepath.Join(home, rolesFile)
	if _, err := roles(passwords); err != nil {
		return nil, err
	}
	n := &Node{cfg: Config{Home: home}}
	if _, err := makeAudit(n); err != nil { // it makes its key
		return nil, err
	}
	return []string{KeyFile(home), auditKeyFile(home), passwords, PasswordFile(home)}, ensurePassword(PasswordFile(home))
}

// TakeKeys writes the keys that lie in the folder from into home: api.key, audit.key and roles.json, each as a
// file of ours that nobody else can read, in place of what is there. A mounted secret is a folder of links to
// files that a group can read, and no place to use keys from. All must be there: a service that made one of its own
// would share it with nobody.
func TakeKeys(from, home string) ([]string, error) {
	const op = "stack.keys"
	if err := os.MkdirAll(home, 0o711); err != nil { //nolint:gosec // what is secret in it is 0600
		return nil, fault.Wrap(fault.Invalid, op, "cannot make the data folder", err).WithFix("set AGENTOS_HOME to a folder you can write")
	}
	files := []string{KeyFile(home), auditKeyFile(home), filepath.Join(home, rolesFile)}
	taken := make([][]byte, len(files))
	for i, file := range files {
		var err error
		if taken[i], err = os.ReadFile(filepath.Join(from, filepath.Base(file))); err != nil {
			return nil, fault.Wrap(fault.Invalid, op, "cannot take "+filepath.Base(file)+" from "+from, err).
				WithFix("make the keys with `agentos keys`, and put api.key, audit.key and roles.json into the folder or the secret mounted there")
		}
	}
	for i, file := range files {
		err := os.WriteFile(file+".tmp", taken[i], 0o600)
		if err == nil {
			err = os.Rename(file+".tmp", file)
		}
		if err != nil {
			return nil, fault.Wrap(fault.Unavailable, op, "cannot write "+file, err).WithFix("make the folder writable, or set AGENTOS_HOME to one that is")
		}
	}
	return files, checkKeys(from, home)
}

// checkKeys looks at the keys in home as the services will, and that no password of a role is missing.
func checkKeys(from, home string) error {
	if _, err := httpserver.EnsureKeyFile(KeyFile(home)); err != nil {
		return err
	}
	if _, err := makeAudit(&Node{cfg: Config{Home: home}}); err != nil {
		return err
	}
	path := filepath.Join(home, rolesFile)
	given, err := os.ReadFile(path)
	if err != nil {
		return fault.Wrap(fault.Unavailable, "stack.keys", "cannot read "+path, err)
	}
	if _, err := roles(path); err != nil {
		return err
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(given, now) {
		return errors.Join(os.Remove(path), fault.New(fault.Invalid, "stack.keys", from+"/"+rolesFile+" has no password for one of the services").
			WithFix("run `agentos keys` on the data folder it was made in, which adds what is missing, and take the file again"))
	}
	return nil
}

// ensurePassword makes the password of the database. The server of Postgres runs under an account of its own and
// reads it too, so the file has mode 0444: what protects it is who has the folder.
func ensurePassword(path string) error {
	_, err := os.Stat(path)
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		var b [24]byte
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
		tmp := path + ".tmp"
		if err = os.WriteFile(tmp, []byte(hex.EncodeToString(b[:])), 0o444); err == nil { //nolint:gosec // see above
			err = os.Rename(tmp, path)
		}
	}
	if err != nil {
		return fault.Wrap(fault.Unavailable, "stack.keys", "cannot write "+path, err).WithFix("make the folder writable, or set AGENTOS_HOME to one that is")
	}
	return nil
}
