package integration

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

func delta(t *testing.T, f kernel.Frame) api.Delta {
	t.Helper()
	var d api.Delta
	if err := json.Unmarshal([]byte(f.Data), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// streamResumes: from every id of the stream on, a client gets exactly the rest; the deltas add up to the
// answer; events and logs show the same facts as the stream.
func streamResumes(t *testing.T, k *kernel.Kernel, _ *kernel.Engine) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "finish in time", Name: "streamed"})
	whole := kernel.OpenStream(t, k.URL, k.Key, a.PID, "deltas=true&after=0", "").All()
	a = wait(t, k, a.PID)
	text := ""
	for _, f := range whole {
		if f.Name != "delta" {
			continue
		}
		d := delta(t, f)
		if want := fmt.Sprintf("%s/1/%d", d.CallID, d.Offset); f.ID != want || d.CallID != a.PID+"/1/0" || d.Step != 1 || d.Attempt != 1 {
			t.Errorf("delta %s: %+v", f.ID, d)
		}
		if d.Offset != int64(len(text)) {
			t.Errorf("delta %s follows %d bytes", f.ID, len(text))
		}
		text += d.Text
	}
	if text != a.Result || text != strings.Join(words(20), "") {
		t.Errorf("the deltas add up to %q, the answer is %q", text, a.Result)
	}
	told := kernel.Facts(whole)
	for i, f := range told[:len(told)-1] {
		rest := kernel.Facts(kernel.OpenStream(t, k.URL, k.Key, a.PID, "", f.ID).All())
		if d := cmp.Diff(told[i+1:], rest); d != "" {
			t.Errorf("resumed at %s: %s", f.ID, d)
		}
	}
	logsShowTheSame(t, k, a.PID, told)
}

func logsShowTheSame(t *testing.T, k *kernel.Kernel, pid string, told []kernel.Frame) {
	t.Helper()
	ran := kernel.CLI(t, k.Home, "logs", "--json", pid)
	lines := strings.Split(strings.TrimSpace(ran.Out), "\n")
	evs := kernel.Events(t, k.Client, pid)
	if ran.Code != 0 || len(lines) != len(evs) || len(told) != len(evs) {
		t.Fatalf("logs: %d lines (code %d), events: %d, stream: %d", len(lines), ran.Code, len(evs), len(told))
	}
	for i, ev := range evs {
		var logged, streamed api.Event
		if err := json.Unmarshal([]byte(lines[i]), &logged); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(told[i].Data), &streamed); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(ev, logged) + cmp.Diff(ev, streamed); d != "" {
			t.Errorf("fact %d differs: %s", i, d)
		}
		if told[i].Name != ev.Kind || told[i].ID != strconv.FormatInt(ev.Position, 10) {
			t.Errorf("frame %+v of %s at %d", told[i], ev.Kind, ev.Position)
		}
	}
}

// brokenAnswerResets: when the connection to the engine breaks in mid-answer the call is tried again, and
// the stream says that the text so far is void.
func brokenAnswerResets(t *testing.T, k *kernel.Kernel, e *kernel.Engine) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "break once"})
	frames := kernel.OpenStream(t, k.URL, k.Key, a.PID, "deltas=true&after=0", "").All()
	a = wait(t, k, a.PID)
	text, resets := "", 0
	for _, f := range frames {
		switch f.Name {
		case "reset":
			text = ""
			resets++
		case "delta":
			text += delta(t, f).Text
		}
	}
	if a.State != api.StateCompleted || text != a.Result || resets != 1 || e.Requests("break once") != 2 {
		t.Errorf("%s, %d resets, %d requests, text %q, answer %q", a.State, resets, e.Requests("break once"), text, a.Result)
	}
	var followed strings.Builder
	ran := kernel.CLI(t, k.Home, "logs", "-f", "--deltas", a.PID)
	followed.WriteString(ran.Out)
	if ran.Code != 0 || !strings.Contains(followed.String(), "agent.completed") {
		t.Errorf("logs -f of an ended process: %d, %s", ran.Code, ran.ErrOut)
	}
}

// clientGoes: nobody has to look on for a process to run.
func clientGoes(t *testing.T, k *kernel.Kernel, _ *kernel.Engine) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "finish in time", Name: "unwatched"})
	s := kernel.OpenStream(t, k.URL, k.Key, a.PID, "deltas=true", "")
	for m := range s.Frames {
		if m.Name == "delta" {
			break
		}
	}
	s.Close()
	if a = wait(t, k, a.PID); a.State != api.StateCompleted {
		t.Errorf("%s: %+v", a.State, a.Error)
	}
	if c := kernel.Of[struct{}](t, kernel.Events(t, k.Client, a.PID), "llm.call_started"); len(c) != 1 {
		t.Errorf("%d calls were started", len(c))
	}
}
