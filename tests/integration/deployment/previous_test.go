package deployment

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/agentos-kernel/agentos/tests/kernel"
)

// previousRef is the version an upgrade begins with.
const previousRef = "HEAD~1"

// previousTree is the sources of the commit before; a clone without history skips the test.
func previousTree(t *testing.T) string {
	t.Helper()
	root, dir := kernel.Root(t), t.TempDir()
	find := exec.CommandContext(t.Context(), "git", "-C", root, "rev-parse", "--verify", "--quiet", previousRef+"^{commit}") //nolint:gosec // our own repository
	if out, err := find.CombinedOutput(); err != nil {
		t.Skipf("there is no commit before this one here (a shallow clone?): git fetch --deepen=1 gets it; %v %s", err, out)
	}
	archive, err := exec.CommandContext(t.Context(), "git", "-C", root, "archive", "--format=tar", previousRef).Output() //nolint:gosec // our own repository
	if err != nil {
		t.Fatalf("git archive: %v", err)
	}
	unpack := exec.CommandContext(t.Context(), "tar", "-x", "-C", dir) //nolint:gosec // into the test's own folder
	unpack.Stdin = bytes.NewReader(archive)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return dir
}

// previousBinary is the binary of the commit before.
func previousBinary(t *testing.T) string {
	t.Helper()
	dir := previousTree(t)
	bin := filepath.Join(dir, "bin", "agentos")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", bin, "./cmd/agentos") //nolint:gosec // our own source
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the commit before: %v\n%s", err, out)
	}
	return bin
}
