package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// examples are the recordings of the repository.
const examples = "../../../examples"

// watch starts a kernel, lets an agent work before and after a first scrape, and gives what was scraped.
func watch(ctx context.Context, bin string) (seen *samples, err error) {
	home, err := os.MkdirTemp("", "agentos-watch-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	if err := os.Chmod(home, 0o711); err != nil { //nolint:gosec // the account Postgres runs under passes through
		return nil, err
	}
	k := &kernel{bin: bin, home: home}
	if err := k.start(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.stop()) }()
	seen = newSamples()
	end := time.Now()
	for i, at := range []time.Time{end.Add(-30 * time.Second), end} {
		if err := k.work(ctx, i); err != nil {
			return nil, err
		}
		text, err := k.scrape(ctx)
		if err != nil {
			return nil, err
		}
		if err := seen.add(text, at); err != nil {
			return nil, err
		}
	}
	seen.end = end
	return seen, nil
}

type kernel struct {
	bin, home string
	cmd       *exec.Cmd
	url       string
	keyFile   string
}

func (k *kernel) env() []string {
	return append(os.Environ(), "AGENTOS_HOME="+k.home, "DATABASE_URL=", "KAFKA_BROKERS=", "AGENTOS_URL=", "AGENTOS_API_KEY=")
}

func (k *kernel) start(ctx context.Context) error {
	k.cmd = exec.CommandContext(ctx, k.bin, "up", "--json", "--http", "127.0.0.1:0", "--workspace-root", k.home+"-work",
		"--cassettes", filepath.Join(examples, "report"))
	k.cmd.Env, k.cmd.Stderr = k.env(), os.Stderr
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := k.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return errors.Join(fmt.Errorf("the kernel did not start: %w", err), k.cmd.Wait())
	}
	var up struct {
		URL        string `json:"url"`
		APIKeyFile string `json:"api_key_file"`
	}
	if err := json.Unmarshal(line, &up); err != nil {
		return err
	}
	k.url, k.keyFile = up.URL, up.APIKeyFile
	return nil
}

func (k *kernel) stop() error {
	err := k.cmd.Process.Signal(syscall.SIGTERM)
	return errors.Join(err, k.cmd.Wait(), os.RemoveAll(k.home+"-work"))
}

// work lets the agent of examples/report do its task.
func (k *kernel) work(ctx context.Context, n int) error {
	workspace := fmt.Sprintf("%s-work/%d", k.home, n)
	if err := os.CopyFS(workspace, os.DirFS(filepath.Join(examples, "report/data"))); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, k.bin, "run", "-q", "-f", filepath.Join(examples, "report/agent.yaml"), "--workspace", workspace)
	cmd.Env = k.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the agent did not do its task: %w\n%s", err, out)
	}
	// Gauges that cost a query are taken every three seconds.
	select {
	case <-time.After(4 * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *kernel) scrape(ctx context.Context) (string, error) {
	key, err := os.ReadFile(k.keyFile)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url+"/metrics", http.NoBody)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET /metrics: %s", res.Status)
	}
	text, err := io.ReadAll(res.Body)
	return string(text), err
}
