// Package tooltest is the suite every tool passes, whatever it does: schema, arguments, cancel, time
// limit, output limit, and, for tools that take paths, confinement.
package tooltest

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
)

// Suite describes a tool to the suite.
type Suite struct {
	Tool tool.Tool
	// Traits as the registry gives them.
	Traits tool.Traits
	// Chain is what an ordered tool gets as Env.Chain.
	Chain string
	// Setup fills the workspace; may be nil.
	Setup func(t *testing.T, dir string)
	// Valid is the arguments of a call that succeeds after Setup and does enough to notice a cancelled
	// context.
	Valid string
	// Path names the argument that is a path; "" when there is none.
	Path string
	// Long is the arguments of a call whose result is longer than LongLimit; "" when results are short.
	Long string
	// NoCancel marks a tool that is over at once and never looks at its context.
	NoCancel bool
}

// LongLimit is the output limit Long must exceed.
const LongLimit = 200

const secret = "the-secret-outside-the-workspace"

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Helper()
	t.Run("schema", s.schema)
	t.Run("valid call", s.valid)
	t.Run("unknown argument", s.unknownArgument)
	t.Run("hostile arguments", s.hostileArguments)
	t.Run("cancel", s.cancel)
	t.Run("time limit", s.timeLimit)
	t.Run("output limit", s.outputLimit)
	t.Run("confinement", s.confinement)
}

// Env makes the environment of a call in a folder.
func Env(dir string) tool.Env {
	return tool.Env{
		CallID: "ptest/1/0", Attempt: 1, OutputLimit: 64 << 10,
		Workspace: func() (*os.Root, error) { return os.OpenRoot(dir) },
	}
}

// Limits are generous limits for tests that are not about them.
func Limits() tool.Limits { return tool.Limits{Timeout: time.Minute, OutputBytes: 64 << 10} }

func (s Suite) env(t *testing.T) (tool.Env, string) {
	t.Helper()
	dir := t.TempDir()
	if s.Setup != nil {
		s.Setup(t, dir)
	}
	env := Env(dir)
	if !s.Traits.Workspace {
		env.Workspace = nil
	}
	if s.Traits.Ordered {
		env.Chain = s.Chain
	}
	return env, dir
}

func (s Suite) schema(t *testing.T) {
	t.Parallel()
	spec := s.Tool.Spec()
	if spec.Name == "" || spec.Description == "" {
		t.Errorf("spec without name or description: %+v", spec)
	}
	schema, err := tool.CompileSchema(spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := schema.Check(s.Valid); err != nil {
		t.Errorf("schema refuses the valid arguments %s: %v", s.Valid, err)
	}
	for _, wrong := range []string{`{"no_such_argument":1}`, `[]`, `null`, `"x"`, `{`, s.Valid + s.Valid} {
		if _, err := schema.Check(wrong); !fault.Is(err, fault.Invalid) {
			t.Errorf("Check(%s) = %v, want Invalid", wrong, err)
		}
	}
}

func (s Suite) valid(t *testing.T) {
	t.Parallel()
	env, _ := s.env(t)
	first := tool.Run(t.Context(), s.Tool, env, json.RawMessage(s.Valid), Limits())
	if first.Code != "" || first.Cancelled {
		t.Fatalf("valid call ended in %+v", first)
	}
	// The same attempt once more: every class a crash repeats must give the same.
	again := tool.Run(t.Context(), s.Tool, env, json.RawMessage(s.Valid), Limits())
	if again.Result != first.Result {
		t.Errorf("second run gave %q, first %q", again.Result, first.Result)
	}
}

func (s Suite) unknownArgument(t *testing.T) {
	t.Parallel()
	if s.Traits.Ordered {
		return // a replay answers by what came before; its schema has seen the arguments
	}
	env, _ := s.env(t)
	var args map[string]any
	if err := json.Unmarshal([]byte(s.Valid), &args); err != nil {
		t.Fatal(err)
	}
	args["no_such_argument"] = true
	wantCode(t, tool.Run(t.Context(), s.Tool, env, encode(t, args), Limits()), fault.Invalid)
}

func (s Suite) hostileArguments(t *testing.T) {
	t.Parallel()
	env, _ := s.env(t)
	for _, args := range []string{``, `{}`, `null`, `[1]`, `{"a":{"a":{"a":[[[]]]}}}`, `{"path":5}`, "{\"path\":\"\x00\"}", `{"path":"\u0000"}`, `{"a":1,"A":1}`} {
		out := tool.Run(t.Context(), s.Tool, env, json.RawMessage(args), Limits())
		if out.Code == fault.Internal.String() {
			t.Errorf("arguments %q: %+v", args, out)
		}
		if out.Code != "" && out.Reason == "" {
			t.Errorf("arguments %q: no reason for code %s", args, out.Code)
		}
	}
}

func (s Suite) cancel(t *testing.T) {
	t.Parallel()
	env, dir := s.env(t)
	before := snapshot(t, dir)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fault.New(fault.Canceled, "test", "stopped by the test"))
	out := tool.Run(ctx, s.Tool, env, json.RawMessage(s.Valid), Limits())
	if !out.Cancelled || out.Reason != "stopped by the test" {
		t.Errorf("cancelled run ended in %+v", out)
	}
	if !s.NoCancel {
		if _, err := s.Tool.Call(ctx, env, json.RawMessage(s.Valid)); !fault.Is(err, fault.Canceled) {
			t.Errorf("Call in a cancelled context = %v, want Canceled", err)
		}
	}
	if after := snapshot(t, dir); after != before {
		t.Errorf("a cancelled call changed the workspace:\n%s\nbefore:\n%s", after, before)
	}
}

func (s Suite) timeLimit(t *testing.T) {
	t.Parallel()
	env, _ := s.env(t)
	limits := Limits()
	limits.Timeout = time.Nanosecond
	wantCode(t, tool.Run(t.Context(), s.Tool, env, json.RawMessage(s.Valid), limits), fault.Quota)
}

func (s Suite) outputLimit(t *testing.T) {
	t.Parallel()
	if s.Long == "" {
		return
	}
	env, _ := s.env(t)
	out := tool.Run(t.Context(), s.Tool, env, json.RawMessage(s.Long), tool.Limits{Timeout: time.Minute, OutputBytes: LongLimit})
	if out.Code != "" || !out.Truncated || len(out.Result) > LongLimit || !strings.HasSuffix(out.Result, "ask for less]") {
		t.Errorf("long result ended in %+v (%d bytes)", out, len(out.Result))
	}
}

func (s Suite) confinement(t *testing.T) {
	t.Parallel()
	if s.Path == "" {
		return
	}
	for _, path := range []string{
		"../outside/secret.txt", "a/../../outside/secret.txt", "OUTSIDE/secret.txt", "OUTSIDE", "/", "..", "../outside",
		"link-file", "link-dir/secret.txt", "link-dir", "link-up/outside/secret.txt", "link-abs/secret.txt", "link-loop",
		"/etc/passwd", "/proc/self/environ", "link-proc", "fifo", "link-fifo", "\x00", strings.Repeat("a", 5000), "secret\x00.txt",
	} {
		t.Run(path[:min(len(path), 40)], func(t *testing.T) {
			t.Parallel()
			env, dir := s.env(t)
			outside := plant(t, dir)
			before := snapshot(t, outside)
			var args map[string]any
			if err := json.Unmarshal([]byte(s.Valid), &args); err != nil {
				t.Fatal(err)
			}
			args[s.Path] = strings.Replace(path, "OUTSIDE", outside, 1)
			out := tool.Run(t.Context(), s.Tool, env, encode(t, args), Limits())
			switch out.Code {
			case fault.Denied.String(), fault.Invalid.String(), fault.NotFound.String():
			default:
				t.Errorf("path %q ended in %+v", path, out)
			}
			if strings.Contains(out.Result+out.Reason, secret) || strings.Contains(out.Reason, dir) {
				t.Errorf("path %q told too much: %+v", path, out)
			}
			if after := snapshot(t, outside); after != before {
				t.Errorf("path %q changed what is outside:\n%s", path, after)
			}
		})
	}
}

// plant puts a secret beside the workspace, and traps that lead to it and elsewhere into it.
func plant(t *testing.T, dir string) (outside string) {
	t.Helper()
	outside = filepath.Join(t.TempDir(), "outside")
	must(t, os.Mkdir(outside, 0o750))
	must(t, os.WriteFile(filepath.Join(outside, "secret.txt"), []byte(secret+"\n"), 0o600))
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	relative, err := filepath.Rel(dir, outside)
	must(t, err)
	for link, target := range map[string]string{
		"link-file": filepath.Join(relative, "secret.txt"), "link-dir": relative, "link-abs": outside, "link-up": "..",
		"link-loop": "link-loop", "link-proc": "/proc/self/environ", "link-fifo": "fifo",
	} {
		must(t, os.Symlink(target, filepath.Join(dir, link)))
	}
	return outside
}

// snapshot is the names and contents below a folder.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		b.WriteString(path + "\n")
		if d.Type().IsRegular() {
			content, err := os.ReadFile(path) //nolint:gosec // a test's own folder
			b.Write(content)
			return err
		}
		return nil
	}))
	return b.String()
}

func encode(t *testing.T, v any) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return data
}

func wantCode(t *testing.T, out tool.Outcome, want fault.Kind) {
	t.Helper()
	if out.Code != want.String() || out.Reason == "" {
		t.Errorf("ended in %+v, want code %s and a reason", out, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
