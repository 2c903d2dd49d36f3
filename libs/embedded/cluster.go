package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const (
	opCluster = "embedded.cluster"
	superuser = "postgres"
	// socketPort only names the socket file; nothing listens on TCP.
	socketPort = 5432
	// maxSocketDir leaves room for "/.s.PGSQL.5432" in a socket address (104 bytes on macOS, 108 on Linux).
	maxSocketDir = 80
)

// layout is where the parts of one cluster lie.
type layout struct { //nolint:recvcheck // place fills it in; the others only read it
	home, base string
	data, sock string
	acct       *account
}

func (l layout) lockFile() string     { return filepath.Join(l.home, "lock") }
func (l layout) recordFile() string   { return filepath.Join(l.home, "postgres.json") }
func (l layout) passwordFile() string { return filepath.Join(l.home, "password") }
func (l layout) logFile() string      { return filepath.Join(l.home, "postgres.log") }

// locate decides where account and data are and makes nothing.
func locate(home string) (layout, error) {
	if !filepath.IsAbs(home) {
		return layout{}, fault.Newf(fault.Invalid, opCluster, "the data folder %q is not an absolute path", home).
			WithFix("Give an absolute path.")
	}
	l := layout{home: filepath.Clean(home)}
	err := l.place()
	l.data = filepath.Join(l.base, "cluster")
	return l, err
}

// layOut locates the cluster and makes the folders around it.
func layOut(home string) (layout, error) {
	l, err := locate(home)
	if err != nil {
		return l, err
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711 // the account passes through; the secrets inside are 0600
	}
	for _, dir := range []string{l.home, l.base} {
		if err := makeDir(dir, mode); err != nil {
			return l, err
		}
	}
	l.sock, err = socketDir(l)
	return l, err
}

// place finds account and base: Home, or a folder of /var/lib for an account that cannot reach Home.
func (l *layout) place() error {
	far := filepath.Join("/var/lib/agentos", hashOf(l.home))
	for _, base := range []string{l.home, far} {
		acct, err := accountFor(filepath.Join(base, "cluster"))
		if err != nil {
			return err
		}
		l.acct, l.base = acct, base
		if acct.canReach(base) {
			return nil
		}
	}
	return fault.Newf(fault.Unavailable, opCluster, "the account %s, which runs PostgreSQL, can reach neither %s nor %s", l.acct.name, l.home, far).
		WithFix("Put the data folder where other users can enter, or run as an ordinary user.")
}

func makeDir(dir string, mode os.FileMode) error {
	_, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(dir), 0o755); err == nil { //nolint:gosec // folders above ours
			err = os.Mkdir(dir, mode)
		}
		if err == nil {
			err = os.Chmod(dir, mode)
		}
	}
	if err != nil {
		return fault.Wrap(fault.Internal, opCluster, "cannot make the folder "+dir, err).
			WithFix("Make the folder above it writable for this user, or choose another one.")
	}
	return nil
}

// socketDir picks the first folder whose path is short enough for a socket and open to the account.
func socketDir(l layout) (string, error) {
	short := "agentos-pg-" + hashOf(l.base)
	for _, dir := range []string{filepath.Join(l.base, "sock"), filepath.Join(os.TempDir(), short), filepath.Join("/tmp", short)} {
		if len(dir) > maxSocketDir || !l.acct.canReach(filepath.Dir(dir)) {
			continue
		}
		if err := l.acct.privateDir(dir); err != nil {
			return "", fault.Wrap(fault.KindOf(err), opCluster, "cannot make the socket folder "+dir, err).
				WithFix(fault.FixOf(err))
		}
		return dir, nil
	}
	return "", fault.New(fault.Unavailable, opCluster, "found no folder with a path short enough for a socket").
		WithFix("Use a data folder with a shorter path, or set TMPDIR to a short one.")
}

// clusterMajor is the major version of the cluster on disk, 0 if there is none.
func clusterMajor(data string) (int, error) {
	b, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fault.Wrap(fault.Internal, opCluster, "cannot read the cluster", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fault.Wrap(fault.Internal, opCluster, "the cluster's PG_VERSION is damaged", err).
			WithFix("Restore " + data + " from a backup, or move it away to start empty.")
	}
	return major, nil
}

// initCluster runs initdb in a folder of its own and renames it, so that the cluster is whole or absent.
func initCluster(ctx context.Context, l layout, b binaries, durable bool) error {
	stale, _ := filepath.Glob(l.data + ".tmp-*") // fails only on a bad pattern
	for _, dir := range stale {
		if err := os.RemoveAll(dir); err != nil {
			return fault.Wrap(fault.Internal, opCluster, "cannot remove a half-made cluster", err)
		}
	}
	password := rand.Text()
	if err := writeFileAtomic(l.passwordFile(), []byte(password+"\n")); err != nil {
		return fault.Wrap(fault.Internal, opCluster, "cannot write the password file", err).WithFix("Free space on the disk.")
	}
	tmp, err := l.accountTemp(password)
	if err == nil {
		defer os.RemoveAll(tmp) // gone after the rename
		err = runInitdb(ctx, l, b, tmp, durable)
	}
	if err == nil {
		err = os.Rename(tmp, l.data)
	}
	if err != nil {
		return fault.Wrap(fault.KindOf(err), opCluster, "cannot make the database cluster", err).
			WithFix("Free space on the disk and check that " + l.base + " is writable. Other ways: " + waysOut)
	}
	return nil
}

// accountTemp makes the folder initdb fills. The password file lies beside it, not in it: initdb wants it
// empty.
func (l layout) accountTemp(password string) (string, error) {
	tmp, err := os.MkdirTemp(l.base, "cluster.tmp-")
	if err != nil {
		return "", err
	}
	uid, gid := l.acct.owner()
	pw := tmp + ".pw"
	return tmp, errors.Join(os.Chown(tmp, uid, gid), os.WriteFile(pw, []byte(password+"\n"), 0o600), os.Chown(pw, uid, gid))
}

func runInitdb(ctx context.Context, l layout, b binaries, dir string, durable bool) error {
	pw := dir + ".pw"
	defer os.Remove(pw)
	cmd := exec.CommandContext(ctx, b.path("initdb"), initdbArgs(b, dir, pw, durable)...) //nolint:gosec // a server we chose
	cmd.SysProcAttr = l.acct.procAttr()
	cmd.Env = serverEnv()
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, lastLine(out))
	}
	return nil
}

// initdbArgs: everything in UTF-8 with byte order, the same on every system and in every build.
func initdbArgs(b binaries, dir, pwfile string, durable bool) []string {
	args := []string{
		"-D", dir, "-U", superuser, "-A", "scram-sha-256", "--pwfile=" + pwfile, "-E", "UTF8", "--locale=C", "--data-checksums",
	}
	if b.major >= 17 {
		args = append(args, "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
	}
	switch {
	case !durable:
		args = append(args, "--no-sync")
	case b.major >= 17 && runtime.GOOS == "linux":
		args = append(args, "--sync-method=syncfs")
	}
	return args
}

// serverEnv keeps the user's PG* variables and locale away from the server.
func serverEnv() []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C", "LC_ALL=C", "TZ=UTC"}
}

// serverConf is postgresql.conf. recovery_init_sync_method: a crashed server is back in 0.3 s, not 2.8 s.
func serverConf(l layout, durable bool) string {
	onOff := map[bool]string{true: "on", false: "off"}[durable]
	lines := []string{
		"# Written by agentos at each start. Settings of your own: ALTER SYSTEM SET …",
		"listen_addresses = ''",
		"port = " + strconv.Itoa(socketPort),
		"unix_socket_directories = '" + strings.ReplaceAll(l.sock, "'", "''") + "'",
		"unix_socket_permissions = 0700",
		"max_connections = 200",
		"shared_buffers = 128MB",
		"fsync = " + onOff,
		"synchronous_commit = " + onOff,
		"full_page_writes = " + onOff,
		"wal_compression = off",
		"min_wal_size = 256MB",
		"max_wal_size = 2GB",
		"checkpoint_timeout = 5min",
		"checkpoint_completion_target = 0.9",
		"idle_in_transaction_session_timeout = 60s",
		"jit = off",
		"timezone = 'UTC'",
		"log_timezone = 'UTC'",
		"log_line_prefix = '%m [%p] %d '",
		"log_min_messages = warning",
		"log_min_error_statement = panic", // statements may hold users' data
		"log_checkpoints = off",
		"lc_messages = 'C'",
	}
	if runtime.GOOS == "linux" {
		lines = append(lines, "recovery_init_sync_method = syncfs")
	}
	return strings.Join(lines, "\n") + "\n"
}

func writeConf(l layout, durable bool) error {
	name := filepath.Join(l.data, "postgresql.conf")
	err := writeFileAtomic(name, []byte(serverConf(l, durable)))
	if err == nil && l.acct != nil {
		err = os.Lchown(name, l.acct.uid, l.acct.gid)
	}
	if err != nil {
		return fault.Wrap(fault.Internal, opCluster, "cannot write "+name, err).WithFix("Free space on the disk.")
	}
	return nil
}

func readPassword(l layout) (string, error) {
	b, err := os.ReadFile(l.passwordFile())
	if err != nil {
		return "", fault.Wrap(fault.Internal, opCluster, "cannot read the cluster's password", err).
			WithFix("Restore " + l.passwordFile() + ", or move " + l.home + " away to start empty.")
	}
	return strings.TrimSpace(string(b)), nil
}
