package report_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/examples/report"
	"github.com/agentos-kernel/agentos/libs/cassette"
)

func TestCommittedAnswersAreFresh(t *testing.T) {
	t.Parallel()
	c, err := report.Script(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	var fresh bytes.Buffer
	if err := c.Write(&fresh); err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile(report.CassetteFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fresh.Bytes(), committed) {
		t.Error("answers.jsonl does not fit data/ and agent.yaml: run go generate in examples/report")
	}
}

// TestToolMessagesAreTheFiles checks the script against the disk: what was listed, read and written.
func TestToolMessagesAreTheFiles(t *testing.T) {
	t.Parallel()
	x, err := cassette.NewLibrary(".").Get("report")
	if err != nil {
		t.Fatal(err)
	}
	c := x.Cassette()
	if c.Header.Origin != cassette.OriginScript || !strings.Contains(c.Header.Source, "by hand") {
		t.Errorf("header %+v", c.Header)
	}
	messages := c.Conversations[0].Messages
	calls := map[string]chat.ToolCall{}
	used := map[string]int{}
	for _, m := range messages {
		for _, call := range m.ToolCalls {
			calls[call.ID] = call
		}
		if m.Role != chat.Tool {
			continue
		}
		call := calls[m.ToolCallID]
		var args map[string]string
		if err := json.Unmarshal([]byte(call.Function.Arguments), &args); err != nil {
			t.Fatal(err)
		}
		used[call.Function.Name]++
		want := m.String()
		switch call.Function.Name {
		case "read_file":
			data, err := os.ReadFile(filepath.Join(report.DataFolder, args["path"]))
			if err != nil {
				t.Fatal(err)
			}
			want = string(data)
		case "list_dir":
			want = listing(t)
		case "write_file":
			want = fmt.Sprintf("wrote %d bytes to %s", len(args["content"]), args["path"])
		}
		if m.String() != want || m.Name != call.Function.Name {
			t.Errorf("%s(%s) gives %q, want %q", call.Function.Name, call.Function.Arguments, m.String(), want)
		}
	}
	if used["list_dir"] != 1 || used["read_file"] != 4 || used["calculator"] != 8 || used["write_file"] != 1 {
		t.Errorf("tools used: %v", used)
	}
	answer := messages[len(messages)-1]
	// The sums were checked once by other means: $16272.00 + $15754.90 + $10734.50 = $42761.40.
	for _, figure := range []string{"north $16272.00", "south $15754.90", "west $10734.50", "$42761.40", report.OutputFile} {
		if answer.Role != chat.Assistant || len(answer.ToolCalls) > 0 || !strings.Contains(answer.String(), figure) {
			t.Errorf("%q is not in the answer: %s", figure, answer.String())
		}
	}
}

func listing(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(report.DataFolder)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s\t%d", e.Name(), info.Size()))
	}
	return strings.Join(lines, "\n")
}
