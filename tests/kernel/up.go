package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/libs/client"
)

// startLimit bounds how long a kernel may take to be ready on a busy machine.
const startLimit = 60 * time.Second

// Kernel is a running `agentos up` with what a test needs to talk to it.
type Kernel struct {
	Home    string // AGENTOS_HOME
	URL     string
	Roots   string // the folder workspaces may lie in
	Key     string
	Client  *client.Client
	Process *Process

	Env []string // further variables, for the next start

	args []string
}

// Up starts `agentos up` with the recordings of the repository and waits until it is ready. In args
// "{home}" stands for AGENTOS_HOME.
func Up(t testing.TB, env []string, args ...string) *Kernel {
	t.Helper()
	home := Home(t)
	k := &Kernel{Home: home, Roots: filepath.Join(home, "workspaces"), Env: env}
	addr := "127.0.0.1:" + Port(t)
	k.URL = "http://" + addr
	k.args = append([]string{"up", "--json", "--http", addr, "--workspace-root", k.Roots}, Examples(t)...)
	for _, a := range args {
		k.args = append(k.args, strings.ReplaceAll(a, "{home}", home))
	}
	k.Start(t)
	raw, err := os.ReadFile(filepath.Join(home, "api.key"))
	if err != nil {
		t.Fatal(err)
	}
	k.Key = strings.TrimSpace(string(raw))
	k.Client = Client(t, home, k.URL)
	return k
}

// Start starts the kernel again after it has ended, with the same data and the same address.
func (k *Kernel) Start(t testing.TB) {
	t.Helper()
	k.Process = Start(t, k.Home, "up", k.Env, k.args...)
	k.Process.Ready(t, startLimit)
}

// Answer is what an HTTP request got.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Request is one HTTP request as a client without our library would make it.
type Request struct {
	Method, Path, Body string
	Key                string            // API key; "" takes the kernel's own, "none" sends none
	Header             map[string]string // further ones
}

// Do makes a request and reads its whole answer.
func (k *Kernel) Do(t testing.TB, r Request) Answer {
	t.Helper()
	a, err := k.Try(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Try is Do for a kernel that may be away.
func (k *Kernel) Try(ctx context.Context, r Request) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, k.URL+r.Path, strings.NewReader(r.Body))
	if err != nil {
		return Answer{}, err
	}
	switch r.Key {
	case "":
		req.Header.Set("Authorization", "Bearer "+k.Key)
	case "none":
	default:
		req.Header.Set("Authorization", "Bearer "+r.Key)
	}
	for name, value := range r.Header {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return Answer{Status: res.StatusCode, Header: res.Header, Body: body}, err
}

// DB is a connection to the kernel's database with the rights of its owner.
func (k *Kernel) DB(t testing.TB) *pgx.Conn {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(k.Home, "infra.json"))
	if err != nil {
		t.Fatal(err)
	}
	var infra struct {
		DatabaseURL string `json:"database_url"`
	}
	if err := json.Unmarshal(raw, &infra); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), infra.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// Ran is how a command of the binary ended.
type Ran struct {
	Code        int
	Out, ErrOut string
}

// CLI runs a verb of the binary against the data folder home, and waits.
func CLI(t testing.TB, home string, args ...string) Ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, Bin(t), args...) //nolint:gosec // our own binary
	cmd.Env = append(os.Environ(), "AGENTOS_HOME="+home, "DATABASE_URL=", "KAFKA_BROKERS=", "AGENTOS_URL=", "AGENTOS_API_KEY=")
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("agentos %s: %v", strings.Join(args, " "), err)
	}
	return Ran{Code: cmd.ProcessState.ExitCode(), Out: out.String(), ErrOut: errOut.String()}
}
