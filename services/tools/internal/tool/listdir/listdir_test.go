package listdir_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/listdir"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/tooltest"
)

func setup(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"sub", "many", "none"} {
		must(os.Mkdir(filepath.Join(dir, folder), 0o750))
	}
	for name, content := range map[string]string{"b.txt": "hello", "B.txt": "", ".hidden": "x", "new\nline": "ab", "ü": "u", "sub/c": "ccc"} {
		must(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	for i := range 50 {
		must(os.WriteFile(filepath.Join(dir, "many", fmt.Sprintf("file-%02d", i)), nil, 0o600))
	}
	must(os.Symlink("/etc", filepath.Join(dir, "etc")))
	must(syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
}

func TestSuite(t *testing.T) {
	t.Parallel()
	tooltest.Run(t, tooltest.Suite{
		Tool: listdir.ListDir{}, Traits: tool.Traits{Workspace: true}, Setup: setup,
		Valid: `{"path":"sub"}`, Path: "path", Long: `{"path":"many"}`,
	})
}

func TestListDir(t *testing.T) {
	t.Parallel()
	all := ".hidden\t1\nB.txt\t0\nb.txt\t5\netc@\nmany/\n\"new\\nline\"\t2\nnone/\npipe|\nsub/\nü\t1"
	for args, want := range map[string]tool.Outcome{
		``:                  {Result: all},
		`{}`:                {Result: all},
		`{"path":"."}`:      {Result: all},
		`{"path":"sub/"}`:   {Result: "c\t3"},
		`{"path":"none"}`:   {Result: "(empty)"},
		`{"path":"b.txt"}`:  {Code: "invalid", Reason: `"b.txt" is not a folder. Use read_file for files.`},
		`{"path":"absent"}`: {Code: "not_found", Reason: `"absent" does not exist. Use list_dir to see what there is.`},
		`{"path":"etc"}`:    {Code: "denied", Reason: `"etc" is outside the workspace. Use a path relative to the workspace, without leaving it.`},
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			setup(t, dir)
			got := tool.Run(t.Context(), listdir.ListDir{}, tooltest.Env(dir), []byte(args), tooltest.Limits())
			got.Duration = 0
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
