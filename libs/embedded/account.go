package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// account is who the server runs as. A nil account means: as ourselves.
type account struct {
	name     string
	uid, gid int
}

// accountFor picks the account: nil for an ordinary user; for root the owner of an existing data folder,
// else "postgres", else "nobody". initdb refuses root and also a uid without a passwd entry, so the
// account must exist.
func accountFor(data string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	if uid, ok := ownerOf(data); ok && uid != 0 {
		if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
			return toAccount(u)
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return toAccount(u)
		}
	}
	return nil, fault.New(fault.Unavailable, "embedded.account",
		"PostgreSQL does not run as root and this machine has neither an account postgres nor nobody").
		WithFix("Run as an ordinary user, add an account (useradd --system postgres), or set DATABASE_URL.")
}

func toAccount(u *user.User) (*account, error) {
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fault.Wrap(fault.Internal, "embedded.account", "the account has no numeric id", err)
	}
	return &account{name: u.Username, uid: uid, gid: gid}, nil
}

// owner is who owns what the server writes.
func (a *account) owner() (uid, gid int) {
	if a == nil {
		return os.Geteuid(), os.Getegid()
	}
	return a.uid, a.gid
}

// procAttr starts a child in its own process group, away from the terminal's Ctrl-C, as the account.
func (a *account) procAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // ids of the password file
	}
	return attr
}

// canReach reports whether the account may enter dir and all folders above it. Folders not yet there
// count as reachable: we make them.
func (a *account) canReach(dir string) bool {
	if a == nil {
		return true
	}
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		fi, err := os.Stat(d)
		if err == nil && !a.mayEnter(fi) {
			return false
		}
		if d == filepath.Dir(d) {
			return true
		}
	}
}

func (a *account) mayEnter(fi os.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	perm := fi.Mode().Perm()
	switch {
	case int(st.Uid) == a.uid:
		return perm&0o100 != 0
	case int(st.Gid) == a.gid:
		return perm&0o010 != 0
	}
	return perm&0o001 != 0
}

func ownerOf(path string) (uid int, ok bool) {
	fi, err := os.Lstat(path)
	if err != nil {
		return 0, false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}

// privateDir makes dir with mode 0700 for the account, or checks that an existing one is exactly that: a
// folder under /tmp may have been put there by somebody else.
func (a *account) privateDir(dir string) error {
	uid, gid := a.owner()
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		return os.Chown(dir, uid, gid)
	}
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	have, _ := ownerOf(dir)
	if !fi.IsDir() || have != uid || fi.Mode().Perm()&0o077 != 0 {
		return fault.Newf(fault.Denied, "embedded.folder", "%s is not a private folder of uid %d", dir, uid).
			WithFix("Remove " + dir + " if it is yours, then start again.")
	}
	return nil
}

// hashOf shortens a path to a name that is unique enough and fits a socket path.
func hashOf(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:6])
}
