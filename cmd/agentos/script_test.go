package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestMain lets scripts call this test's binary as agentos.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"agentos": main}) }

// TestScripts runs testdata/script against a fake kernel. A script named bad_* has a kernel with a bad
// audit log.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), UpdateScripts: *update, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			srv, err := serveFake(&fake{badLog: strings.HasPrefix(filepath.Base(env.WorkDir), "script-bad_")})
			if err != nil {
				return err
			}
			env.Defer(srv.Close)
			env.Setenv("AGENTOS_URL", srv.URL)
			env.Setenv("AGENTOS_API_KEY", fakeKey)
			env.Setenv("AGENTOS_HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("TZ", "UTC")
			return nil
		},
	})
}

// TestHelp compares the help of every verb with testdata/help.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, cmd := range verbs(newRoot(&app{})) {
		path := cmd.CommandPath()
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			var out, errOut bytes.Buffer
			args := strings.Fields(path + " --help")[1:]
			if code := execute(context.Background(), args, strings.NewReader(""), &out, &errOut); code != 0 {
				t.Fatalf("exit code %d: %s", code, errOut.String())
			}
			golden := filepath.Join("testdata", "help", strings.ReplaceAll(path, " ", "_")+".txt")
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("help (-want +got), go test -update writes it anew:\n%s", diff)
			}
		})
	}
}

func verbs(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		all = append(all, verbs(sub)...)
	}
	return all
}
