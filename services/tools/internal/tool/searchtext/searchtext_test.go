package searchtext_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/searchtext"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/tooltest"
)

func setup(t *testing.T, dir string) {
	t.Helper()
	var many strings.Builder
	for i := range 200 {
		fmt.Fprintf(&many, "row %d\n", i)
	}
	for name, content := range map[string]string{
		"a.txt": "needle one\nhay\r\nNeedle two\r\n", "sub/b.txt": "x needle", "sub/many": many.String(), "bin": "needle\x00",
		"a/z": "needle\n", "long": "needle" + strings.Repeat("ä", 300) + "\n",
		"vast": strings.Repeat("needle ", 30_000) + "\nneedle\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "etc")); err != nil {
		t.Fatal(err)
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	tooltest.Run(t, tooltest.Suite{
		Tool: searchtext.SearchText{}, Traits: tool.Traits{Workspace: true}, Setup: setup,
		Valid: `{"pattern":"needle","path":"sub"}`, Path: "path", Long: `{"pattern":"row"}`,
	})
}

func TestSearchText(t *testing.T) {
	t.Parallel()
	long := "long:1: needle" + strings.Repeat("ä", 197) + "…"
	vast := "vast:1: " + strings.Repeat("needle ", 57) + "n…\nvast:2: needle"
	leftOut := "\n[left out: 1 files that are binary, larger than 16 MiB or unreadable]"
	for args, want := range map[string]tool.Outcome{
		`{"pattern":"needle"}`: {
			Result: "a/z:1: needle\na.txt:1: needle one\n" + long + "\nsub/b.txt:1: x needle\n" + vast + leftOut,
		},
		`{"pattern":"(?i)^needle","path":"a.txt"}`:        {Result: "a.txt:1: needle one\na.txt:3: Needle two"},
		`{"pattern":"two$","path":"./sub/../a.txt"}`:      {Result: "./sub/../a.txt:3: Needle two"},
		`{"pattern":"row 1\\d$","path":"sub/","max":3}`:   {Result: "sub/many:11: row 10\nsub/many:12: row 11\nsub/many:13: row 12\n[more matches: narrow the pattern or raise max]"},
		`{"pattern":"row 19[0-2]","path":"sub","max":3}`:  {Result: "sub/many:191: row 190\nsub/many:192: row 191\nsub/many:193: row 192"},
		`{"pattern":"root:","path":"."}`:                  {Result: "no matches" + leftOut},
		`{"pattern":"absent","path":"sub"}`:               {Result: "no matches"},
		`{"pattern":"needle","path":"bin"}`:               {Code: "invalid", Reason: `"bin" is not text. Only text files can be read.`},
		`{"pattern":"(","path":"sub"}`:                    {Code: "invalid", Reason: "the pattern is not a regular expression: missing closing ): `(`. Escape special characters with \\ to search for them."},
		`{"pattern":"x","path":"nowhere"}`:                {Code: "not_found", Reason: `"nowhere" does not exist. Use list_dir to see what there is.`},
		`{"pattern":"(?:(?:(?:a{900}){900}){900}){900}"}`: {Code: "invalid", Reason: "the pattern is not a regular expression: invalid repeat count: `{900}`. Escape special characters with \\ to search for them."},
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			setup(t, dir)
			got := tool.Run(t.Context(), searchtext.SearchText{}, tooltest.Env(dir), []byte(args), tooltest.Limits())
			got.Duration = 0
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
