package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// frame is one message of a stream of events as it stands on the wire.
type frame struct{ id, name, data string }

// stream is an open stream of events.
type stream struct {
	frames chan frame // closed at the end of the stream
	close  func()
}

// openStream follows a process as a client without our library would.
func openStream(t *testing.T, k *kernel.Kernel, pid, query, lastID string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.URL+"/v1/agents/"+pid+"/events?"+query, http.NoBody) //nolint:gosec // the test's own kernel
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+k.Key)
	req.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req) //nolint:bodyclose,gosec // the reader below closes it; the test's own kernel
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}
	s := &stream{frames: make(chan frame, 10_000), close: cancel}
	t.Cleanup(cancel)
	go func() {
		defer close(s.frames)
		defer func() { _ = res.Body.Close() }()
		in := bufio.NewScanner(res.Body)
		in.Buffer(nil, 16<<20)
		var f frame
		for in.Scan() {
			name, value, _ := strings.Cut(in.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch name {
			case "id":
				f.id = value
			case "event":
				f.name = value
			case "data":
				f.data += value
			case "":
				if f.name != "" {
					s.frames <- f
				}
				f = frame{}
			}
		}
	}()
	return s
}

func (s *stream) all() []frame {
	var all []frame
	for f := range s.frames {
		all = append(all, f)
	}
	return all
}

// facts are the frames that are events.
func facts(frames []frame) []frame {
	var out []frame
	for _, f := range frames {
		if f.name != "delta" && f.name != "reset" {
			out = append(out, f)
		}
	}
	return out
}

func delta(t *testing.T, f frame) api.Delta {
	t.Helper()
	var d api.Delta
	if err := json.Unmarshal([]byte(f.data), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// streamResumes: from every id of the stream on, a client gets exactly the rest; the deltas add up to the
// answer; events and logs show the same facts as the stream.
func streamResumes(t *testing.T, k *kernel.Kernel, _ *kernel.Engine) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "finish in time", Name: "streamed"})
	whole := openStream(t, k, a.PID, "deltas=true&after=0", "").all()
	a = wait(t, k, a.PID)
	text := ""
	for _, f := range whole {
		if f.name != "delta" {
			continue
		}
		d := delta(t, f)
		if want := fmt.Sprintf("%s/1/%d", d.CallID, d.Offset); f.id != want || d.CallID != a.PID+"/1/0" || d.Step != 1 || d.Attempt != 1 {
			t.Errorf("delta %s: %+v", f.id, d)
		}
		if d.Offset != int64(len(text)) {
			t.Errorf("delta %s follows %d bytes", f.id, len(text))
		}
		text += d.Text
	}
	if text != a.Result || text != strings.Join(words(20), "") {
		t.Errorf("the deltas add up to %q, the answer is %q", text, a.Result)
	}
	told := facts(whole)
	for i, f := range told[:len(told)-1] {
		rest := facts(openStream(t, k, a.PID, "", f.id).all())
		if d := cmp.Diff(told[i+1:], rest, cmp.AllowUnexported(frame{})); d != "" {
			t.Errorf("resumed at %s: %s", f.id, d)
		}
	}
	logsShowTheSame(t, k, a.PID, told)
}

func logsShowTheSame(t *testing.T, k *kernel.Kernel, pid string, told []frame) {
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
		if err := json.Unmarshal([]byte(told[i].data), &streamed); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(ev, logged) + cmp.Diff(ev, streamed); d != "" {
			t.Errorf("fact %d differs: %s", i, d)
		}
		if told[i].name != ev.Kind || told[i].id != strconv.FormatInt(ev.Position, 10) {
			t.Errorf("frame %+v of %s at %d", told[i], ev.Kind, ev.Position)
		}
	}
}

// brokenAnswerResets: when the connection to the engine breaks in mid-answer the call is tried again, and
// the stream says that the text so far is void.
func brokenAnswerResets(t *testing.T, k *kernel.Kernel, e *kernel.Engine) {
	t.Helper()
	a := spawn(t, k, api.AgentSpec{Task: "break once"})
	frames := openStream(t, k, a.PID, "deltas=true&after=0", "").all()
	a = wait(t, k, a.PID)
	text, resets := "", 0
	for _, f := range frames {
		switch f.name {
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
	s := openStream(t, k, a.PID, "deltas=true", "")
	for m := range s.frames {
		if m.name == "delta" {
			break
		}
	}
	s.close()
	if a = wait(t, k, a.PID); a.State != api.StateCompleted {
		t.Errorf("%s: %+v", a.State, a.Error)
	}
	if c := kernel.Of[struct{}](t, kernel.Events(t, k.Client, a.PID), "llm.call_started"); len(c) != 1 {
		t.Errorf("%d calls were started", len(c))
	}
}
