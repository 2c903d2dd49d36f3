package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// The tests of this file set environment variables and so cannot be parallel.

// cli runs a command line and gives exit code, output and error output.
func cli(t *testing.T, args ...string) (int, string, string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code := execute(context.Background(), args, strings.NewReader(""), &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestServerDown(t *testing.T) { //nolint:paralleltest // sets environment variables
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once, for a port that nobody holds
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string][2]string{"nobody listens": {url, "k"}, "never started": {"", ""}} {
		t.Setenv("AGENTOS_URL", env[0])
		t.Setenv("AGENTOS_API_KEY", env[1])
		t.Setenv("AGENTOS_HOME", t.TempDir())
		for _, args := range [][]string{
			{"run", "--model", "a/b", "hi"},
			{"ps"},
			{"logs", "p1"},
			{"logs", "-f", "p1"},
			{"send", "p1", "hi"},
			{"kill", "p1"},
			{"trajectory"},
			{"trajectory", "p1"},
			{"audit", "verify"},
			{"audit", "head"},
			{"audit", "proof", "e"},
		} {
			code, out, errOut := cli(t, args...)
			if code != fault.Unavailable.ExitCode() || out != "" || !strings.Contains(errOut, "fix: start the kernel: agentos up") {
				t.Errorf("%s: %v: exit code %d, output %q, error %q", name, args, code, out, errOut)
			}
		}
	}
}

func TestExitCodes(t *testing.T) {
	srv, err := serveFake(&fake{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	t.Setenv("AGENTOS_URL", srv.URL)
	t.Setenv("AGENTOS_HOME", t.TempDir())
	for _, tc := range []struct {
		key  string
		args []string
		code int
	}{
		{fakeKey, []string{"run", "-q", "--model", "m/x", "hi"}, 0},
		{fakeKey, []string{"run", "-q", "--model", "none", "hi"}, 2},
		{fakeKey, []string{"run", "-q", "--model", "m/x", "--name", "fails", "hi"}, 6},
		{fakeKey, []string{"run", "-q", "--model", "m/x", "--name", "killed", "hi"}, 8},
		{fakeKey, []string{"logs", "pnone"}, 3},
		{fakeKey, []string{"send", fakePID, "too late"}, 4},
		{"wrong", []string{"ps"}, 5},
		{"", []string{"ps"}, 5},
		{fakeKey, []string{"frobnicate"}, 2},
		{fakeKey, []string{"ps", "--frobnicate"}, 2},
		{fakeKey, []string{"ps", "surplus"}, 2},
		{fakeKey, []string{"run", "--priority", "high"}, 2},
		{fakeKey, []string{"serve"}, 2},
		{fakeKey, []string{"serve", "coffee"}, 2},
		{fakeKey, []string{"kill"}, 2},
		{fakeKey, []string{"help"}, 0},
	} {
		t.Setenv("AGENTOS_API_KEY", tc.key)
		code, _, errOut := cli(t, tc.args...)
		if code != tc.code || (code != 0) != strings.Contains(errOut, "  fix: ") {
			t.Errorf("%v: exit code %d, want %d: %s", tc.args, code, tc.code, errOut)
		}
	}
}

func TestErrorsAsJSON(t *testing.T) {
	t.Parallel()
	code, out, errOut := cli(t, "ps", "--frobnicate", "--json")
	want := `{"error":{"code":"invalid","detail":"unknown flag: --frobnicate","fix":"see agentos help, or add --help to the verb"}}` + "\n"
	if code != 2 || out != "" || errOut != want {
		t.Errorf("exit code %d, output %q, error %q", code, out, errOut)
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0us", 340 * time.Microsecond: "340us", 12 * time.Millisecond: "12ms", 3400 * time.Millisecond: "3.4s",
		5 * time.Minute: "5m", 2 * time.Hour: "2h", 47 * time.Hour: "47h", 72 * time.Hour: "3d",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// TestTextCannotSteerTheTerminal: what models and tools say is shown without escape sequences.
func TestTextCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	if got := clip("a\x1b[2J\nb", 10); got != "a [2J b" {
		t.Errorf("clip: %q", got)
	}
	if got := clip("0123456789x", 10); got != "012345678…" {
		t.Errorf("clip: %q", got)
	}
	if got := printable("a\x1b[2J\n\tb\r"); got != "a[2J\n\tb" {
		t.Errorf("printable: %q", got)
	}
}
