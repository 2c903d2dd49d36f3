package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/examples/drive"
	"github.com/agentos-kernel/agentos/examples/report"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

type demo struct {
	client   *client.Client
	bin      string // folder of the binary
	kernel   *kernel
	examples string
	runs     string // workspaces of the demonstration
}

// report runs one task with real tools on a fresh copy of the example's folder.
func (d *demo) report(ctx context.Context) error {
	fmt.Println("\n--- 1. One task with real tools")
	model, say := d.model(ctx)
	fmt.Println(say)
	workspace, err := d.workspace()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "agentos"), "run", "-f", filepath.Join(d.examples, "report", report.AgentFile), //nolint:gosec // our own binary
		"--model", model, "--workspace", workspace)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fault.Wrap(fault.Internal, "demo", "the task did not complete; it says why above", err)
	}
	for agent, err := range d.client.Agents(ctx, client.AgentFilter{}) {
		if err != nil {
			return err
		}
		fmt.Printf("accepted %.2f s after the kernel was started\n", agent.CreatedAt.Sub(d.kernel.began).Seconds())
		break
	}
	if out := filepath.Join(workspace, report.OutputFile); exists(out) {
		fmt.Println("report: " + out)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// model is a real model when one is found, else the example's script of answers.
func (d *demo) model(ctx context.Context) (model, say string) {
	const script = "replay/report"
	if name := os.Getenv("AGENTOS_MODEL"); name != "" {
		return name, "model: " + name + " (AGENTOS_MODEL)"
	}
	models, err := d.client.Models(ctx)
	if err == nil {
		for _, m := range models {
			usable := m.Source == api.SourceProvider && !strings.HasSuffix(m.ID, "*")
			if usable && (strings.HasPrefix(m.ID, "openai/") && (os.Getenv("OPENAI_API_KEY") != "" || os.Getenv("OPENAI_BASE_URL") != "") ||
				strings.HasPrefix(m.ID, "ollama/") && ollamaAnswers(ctx)) {
				return m.ID, "model: " + m.ID
			}
		}
	}
	return script, "no model found: answers come from examples/report/answers.jsonl, written by hand, not from a model"
}

func ollamaAnswers(ctx context.Context) bool {
	host := os.Getenv("OLLAMA_HOST")
	if host == "" {
		host = "127.0.0.1:11434"
	}
	host = strings.TrimPrefix(strings.TrimPrefix(host, "http://"), "https://")
	dialer := net.Dialer{Timeout: 300 * time.Millisecond}
	conn, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// workspace is a fresh copy of the example's data.
func (d *demo) workspace() (string, error) {
	dir := filepath.Join(d.runs, "report-"+time.Now().Format("20060102-150405.000"))
	if err := os.MkdirAll(d.runs, 0o700); err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(d.examples, "report", "data"))); err != nil {
		return "", fmt.Errorf("copy the example's data: %w", err)
	}
	return filepath.EvalSymlinks(dir)
}

// airline runs recorded conversations, all at once.
func (d *demo) airline(ctx context.Context) error {
	fmt.Printf("\n--- 2. Real traffic: %d conversations recorded from GPT-4o (tau-bench, MIT), all at once\n", conversations)
	tape, err := cassette.Open(filepath.Join(d.examples, "airline", "airline.jsonl.gz"))
	if err != nil {
		return err
	}
	r, err := drive.Run(ctx, d.client, tape, tape.Conversations[:conversations], drive.Options{
		Prefix: fmt.Sprintf("demo-%d", time.Now().UnixNano()),
		Line:   func(line string) { fmt.Println(line) },
	})
	if err != nil {
		return err
	}
	fmt.Println(r.Summary())
	v, err := d.client.VerifyAudit(ctx)
	if err != nil {
		return err
	}
	if !v.OK {
		return fault.Newf(fault.Internal, "demo", "audit log broken at entry %d: %s", v.FirstBad.Index, v.FirstBad.Reason)
	}
	fmt.Printf("audit log verified: %d entries, root %s\n", v.Size, v.Root)
	if r.Identical != r.Processes {
		return fault.Newf(fault.Internal, "demo", "%d transcripts differ from the recording", r.Processes-r.Identical)
	}
	return nil
}
