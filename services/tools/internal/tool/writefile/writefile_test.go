package writefile_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/tooltest"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/writefile"
)

func setup(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "old.sh"), []byte("old"), 0o700); err != nil { //nolint:gosec // the mode is the point
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("old.sh", filepath.Join(dir, "inside")); err != nil {
		t.Fatal(err)
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	tooltest.Run(t, tooltest.Suite{
		Tool: writefile.WriteFile{}, Traits: tool.Traits{Workspace: true}, Setup: setup,
		Valid: `{"path":"new.txt","content":"hello\n"}`, Path: "path",
	})
}

func TestWriteFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args, file, content string
		mode                os.FileMode
		want                tool.Outcome
	}{
		"new":     {`{"path":"a.txt","content":"hi ü\n"}`, "a.txt", "hi ü\n", 0o644, tool.Outcome{Result: "wrote 6 bytes to a.txt"}},
		"empty":   {`{"path":"a.txt","content":""}`, "a.txt", "", 0o644, tool.Outcome{Result: "wrote 0 bytes to a.txt"}},
		"folders": {`{"path":"x/y/z.txt","content":"z"}`, "x/y/z.txt", "z", 0o644, tool.Outcome{Result: "wrote 1 bytes to x/y/z.txt"}},
		"replace": {`{"path":"old.sh","content":"new"}`, "old.sh", "new", 0o700, tool.Outcome{Result: "wrote 3 bytes to old.sh"}},
		"folder": {
			`{"path":"folder","content":"x"}`, "old.sh", "old", 0o700,
			tool.Outcome{Code: "invalid", Reason: `"folder" is a folder. Name a file in it.`},
		},
		"link": {
			`{"path":"inside","content":"x"}`, "old.sh", "old", 0o700,
			tool.Outcome{Code: "denied", Reason: `"inside" is a link. Write to the file it leads to, or to another name.`},
		},
		"below a file": {
			`{"path":"old.sh/x","content":"x"}`, "old.sh", "old", 0o700,
			tool.Outcome{Code: "invalid", Reason: `a part of "old.sh/x" is not a folder. Use list_dir to see what there is.`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			setup(t, dir)
			got := tool.Run(t.Context(), writefile.WriteFile{}, tooltest.Env(dir), []byte(c.args), tooltest.Limits())
			got.Duration = 0
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			content, err := os.ReadFile(filepath.Join(dir, c.file))
			if err != nil || string(content) != c.content {
				t.Errorf("%s holds %q, %v, want %q", c.file, content, err, c.content)
			}
			info, err := os.Stat(filepath.Join(dir, c.file))
			if err != nil || info.Mode().Perm() != c.mode {
				t.Errorf("mode %v, %v, want %v", info.Mode(), err, c.mode)
			}
			noDrafts(t, dir)
		})
	}
}

func noDrafts(t *testing.T, dir string) {
	t.Helper()
	drafts, err := filepath.Glob(filepath.Join(dir, ".agentos-*"))
	if err != nil || len(drafts) > 0 {
		t.Errorf("left behind: %v, %v", drafts, err)
	}
}

// What a killed attempt left behind is gone after the next one.
func TestLaterAttemptCleansUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := tooltest.Env(dir)
	args := json.RawMessage(`{"path":"big.txt","content":"` + strings.Repeat("x", 600_000) + `"}`)
	crashed := &leaveDraft{dir: dir}
	crashed.Context = t.Context()
	if _, err := (writefile.WriteFile{}).Call(crashed, env, args); err == nil {
		t.Fatal("the first attempt was to fail")
	}
	if crashed.draft == "" {
		t.Fatal("no draft was seen while writing")
	}
	if err := os.WriteFile(crashed.draft, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	env.Attempt = 2
	if out := tool.Run(t.Context(), writefile.WriteFile{}, env, args, tooltest.Limits()); out.Result != "wrote 600000 bytes to big.txt" {
		t.Errorf("second attempt: %+v", out)
	}
	noDrafts(t, dir)
}

// leaveDraft is a context that ends at its second look and remembers the draft that was there then.
type leaveDraft struct {
	context.Context //nolint:containedctx // it is one
	dir             string
	draft           string
	looks           int
}

func (c *leaveDraft) Err() error {
	if c.looks++; c.looks < 2 {
		return nil
	}
	if drafts, err := filepath.Glob(filepath.Join(c.dir, ".agentos-*")); err == nil && len(drafts) == 1 {
		c.draft = drafts[0]
	}
	return context.Canceled
}
