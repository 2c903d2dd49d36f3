package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// script is a server of one stream: each connection gets the next text and is then closed, or cut.
type script struct {
	mu    sync.Mutex
	parts []string // "!" at the end cuts the connection; "503" answers so
	asked []string // Last-Event-ID and after of each connection
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Header.Get("Last-Event-ID")+" "+r.URL.Query().Get("after"))
	if len(s.parts) == 0 {
		http.Error(w, "nothing left", http.StatusTeapot)
		return
	}
	part := s.parts[0]
	s.parts = s.parts[1:]
	if part == "503" {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	text, cut := strings.CutSuffix(part, "!")
	_, _ = w.Write([]byte(text))
	if cut {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func fact(position int, kind string) string {
	return fmt.Sprintf("id: %d\nevent: %s\ndata: {\"position\":%d,\"kind\":\"%s\",\"data\":{}}\n\n", position, kind, position, kind)
}

func delta(name string, attempt, offset int, text string) string {
	return fmt.Sprintf("id: c/%d/%d\nevent: %s\ndata: {\"call_id\":\"c\",\"step\":1,\"attempt\":%d,\"offset\":%d,\"text\":\"%s\"}\n\n",
		attempt, offset, name, attempt, offset, text)
}

// follow collects what a client sees of a script.
func follow(t *testing.T, s *script, after int64) ([]string, error) {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	var got []string
	err := connect(t, srv.URL).Follow(t.Context(), pid, after, true, func(m client.Message) error {
		switch {
		case m.Event != nil:
			got = append(got, strconv.FormatInt(m.Event.Position, 10))
		case m.Reset:
			got = append(got, "reset")
		default:
			got = append(got, m.Delta.Text)
		}
		return nil
	})
	return got, err
}

// A connection that has become silent, as behind a network that is gone, is left for another one.
func TestFollowLeavesASilentConnection(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if asked.Add(1) == 1 {
			_, _ = io.WriteString(w, fact(1, "agent.spawned"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, fact(2, "agent.completed"))
	}))
	t.Cleanup(srv.Close)
	c, err := client.New(client.Config{URL: srv.URL, Silence: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	err = c.Follow(t.Context(), pid, 0, false, func(m client.Message) error { got = append(got, m.Event.Position); return nil })
	if d := cmp.Diff([]int64{1, 2}, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
}

func TestFollowGoesOnAfterLostConnections(t *testing.T) {
	t.Parallel()
	s := &script{parts: []string{
		": hello\n\n" + fact(4, "agent.spawned") + delta("delta", 1, 0, "a") + delta("delta", 1, 1, "b") + "!",
		"503",
		delta("delta", 1, 1, "b") + delta("delta", 1, 2, "c") + "id: 9\nevent: agent.com!",
		fact(4, "agent.spawned") + delta("reset", 2, 0, "") + delta("delta", 2, 1, "x") + fact(8, "llm.call_finished"),
		fact(9, "agent.completed") + "!",
		fact(9, "agent.completed") + fact(10, "llm.call_cancelled"),
	}}
	got, err := follow(t, s, 3)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"4", "a", "b", "c", "reset", "x", "8", "9", "10"}, got); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	want := []string{" 3", "c/1/1 4", "c/1/1 4", "c/1/2 4", "8 8", "9 9"}
	if diff := cmp.Diff(want, s.asked); diff != "" {
		t.Errorf("resumed at (-want +got):\n%s", diff)
	}
}

func TestFollowEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		parts []string
		kind  fault.Kind
		fails bool
	}{
		"with the process":     {[]string{fact(1, "agent.spawned") + fact(2, "agent.terminated")}, 0, false},
		"with a refusal":       {[]string{}, fault.Invalid, true},
		"with a refusal later": {[]string{fact(1, "agent.spawned")}, fault.Invalid, true},
		"with a broken event":  {[]string{"event: agent.spawned\ndata: {\n\n"}, fault.Internal, true},
		"with a broken delta":  {[]string{"event: delta\ndata: []\n\n"}, fault.Internal, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := follow(t, &script{parts: tc.parts}, 0)
			if (err != nil) != tc.fails || (tc.fails && !fault.Is(err, tc.kind)) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestFollowStopsWhenToldTo(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(&script{parts: []string{fact(1, "agent.spawned")}})
	t.Cleanup(srv.Close)
	enough := errors.New("enough")
	err := connect(t, srv.URL).Follow(t.Context(), pid, 0, false, func(client.Message) error { return enough })
	if !errors.Is(err, enough) {
		t.Errorf("error %v", err)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	state := api.StateRunning
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasSuffix(r.URL.Path, "/events") {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = w.Write([]byte(fact(7, "agent.completed")))
			state = api.StateCompleted
			return
		}
		writeJSON(w, http.StatusOK, api.Agent{PID: pid, State: state, Result: "42"})
	})
	agent, err := c.Wait(t.Context(), pid)
	if err != nil || agent.State != api.StateCompleted || agent.Result != "42" {
		t.Errorf("agent %+v, %v", agent, err)
	}
}
