package readfile_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/readfile"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/tooltest"
)

func setup(t *testing.T, dir string) {
	t.Helper()
	for name, content := range map[string]string{
		"a.txt": "one\ntwo\r\nthree", "empty": "", "long.txt": strings.Repeat("äöü\n", 100),
		"binary": "text\x00more", "late": strings.Repeat("x", 20000) + "\x00", "sub/b.txt": "b\n",
		"oneline": strings.Repeat("z", 300_000),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sub/b.txt", filepath.Join(dir, "inside")); err != nil {
		t.Fatal(err)
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	tooltest.Run(t, tooltest.Suite{
		Tool: readfile.ReadFile{}, Traits: tool.Traits{Workspace: true}, Setup: setup,
		Valid: `{"path":"a.txt"}`, Path: "path", Long: `{"path":"long.txt"}`,
	})
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]tool.Outcome{
		`{"path":"a.txt"}`:                        {Result: "one\ntwo\r\nthree"},
		`{"path":"./sub/../a.txt"}`:               {Result: "one\ntwo\r\nthree"},
		`{"path":"a.txt","offset":2}`:             {Result: "two\r\nthree"},
		`{"path":"a.txt","offset":2,"limit":1}`:   {Result: "two\r\n"},
		`{"path":"a.txt","limit":9}`:              {Result: "one\ntwo\r\nthree"},
		`{"path":"a.txt","offset":3,"limit":1}`:   {Result: "three"},
		`{"path":"a.txt","offset":4}`:             {Code: "invalid", Reason: `"a.txt" has only 3 lines. Use a smaller offset.`},
		`{"path":"empty"}`:                        {},
		`{"path":"empty","offset":1}`:             {},
		`{"path":"inside"}`:                       {Result: "b\n"},
		`{"path":"sub"}`:                          {Code: "invalid", Reason: `"sub" is a folder. Name a file in it; list_dir shows them.`},
		`{"path":"sub/b.txt/x"}`:                  {Code: "invalid", Reason: `a part of "sub/b.txt/x" is not a folder. Use list_dir to see what there is.`},
		`{"path":"none"}`:                         {Code: "not_found", Reason: `"none" does not exist. Use list_dir to see what there is.`},
		`{"path":"binary"}`:                       {Code: "invalid", Reason: `"binary" is not text. Only text files can be read.`},
		`{"path":"late"}`:                         {Code: "invalid", Reason: `"late" is not text. Only text files can be read.`},
		`{"path":"/etc/passwd"}`:                  {Code: "denied", Reason: `"/etc/passwd" is outside the workspace. Use a path relative to the workspace, without leaving it.`},
		`{"Path":"a.txt"}`:                        {Code: "invalid", Reason: `there is no argument "Path". The arguments are: path, offset, limit.`},
		`{"path":"a.txt","path":"/etc/passwd"}`:   {Code: "invalid", Reason: `argument "path" is given twice. Give every argument once, in the spelling of the schema.`},
		`{"path":"oneline","offset":2,"limit":1}`: {Code: "invalid", Reason: `"oneline" has only 1 lines. Use a smaller offset.`},
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			setup(t, dir)
			got := tool.Run(t.Context(), readfile.ReadFile{}, tooltest.Env(dir), []byte(args), tooltest.Limits())
			got.Duration = 0
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOneEndlessLineIsCut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	setup(t, dir)
	got := tool.Run(t.Context(), readfile.ReadFile{}, tooltest.Env(dir), []byte(`{"path":"oneline"}`), tooltest.Limits())
	if !got.Truncated || len(got.Result) != 64<<10 || !strings.HasSuffix(got.Result, "\n[output cut at 65536 bytes: ask for less]") {
		t.Errorf("truncated %v, %d bytes", got.Truncated, len(got.Result))
	}
}

// A folder and a link that leads outside change places all the time: no read may see the outside.
func TestSwappedLinkLeaksNothing(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	write := func(path, content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(outside, "f"), "SECRET")
	inner, link, place := filepath.Join(dir, "real"), filepath.Join(dir, "link"), filepath.Join(dir, "place")
	if err := os.Mkdir(inner, 0o750); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(inner, "f"), "inside")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var swaps sync.WaitGroup
	swaps.Go(func() {
		for ctx.Err() == nil {
			_ = os.Rename(inner, place)
			_ = os.Rename(place, inner)
			_ = os.Rename(link, place)
			_ = os.Rename(place, link)
		}
	})
	seen := 0
	for range 5000 {
		got := tool.Run(t.Context(), readfile.ReadFile{}, tooltest.Env(dir), []byte(`{"path":"place/f"}`), tooltest.Limits())
		if strings.Contains(got.Result, "SECRET") {
			t.Fatal("read a file outside the workspace")
		}
		if got.Result == "inside" {
			seen++
		}
	}
	stop()
	swaps.Wait()
	t.Logf("%d of 5000 reads met the folder inside", seen)
	if code := tool.Run(t.Context(), readfile.ReadFile{}, tooltest.Env(outside), []byte(`{"path":"f"}`), tooltest.Limits()); code.Result != "SECRET" {
		t.Error("control: the secret could not be read from its own folder either")
	}
}
