package llmgateway_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/chat"
	agentctx "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/cassette"
	llmgateway "github.com/agentos-kernel/agentos/services/llm-gateway"
)

// upstream is an engine that answers slowly enough to be interrupted.
type upstream struct {
	*httptest.Server
	requests atomic.Int64
	began    chan struct{} // one for each answer that has begun
	gone     chan time.Time
	hang     atomic.Bool
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{began: make(chan struct{}, 100), gone: make(chan time.Time, 100)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"data":[{"id":"tiny","max_model_len":4096}]}`)
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		u.requests.Add(1)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, `data: {"choices":[{"delta":{"role":"assistant","content":"Hello"}}]}`+"\n\n")
		_ = http.NewResponseController(w).Flush()
		u.began <- struct{}{}
		if u.hang.Load() {
			<-r.Context().Done()
			u.gone <- time.Now()
			return
		}
		_, _ = fmt.Fprint(w, `data: {"choices":[{"delta":{"content":" you"},"finish_reason":"stop"}]}`+"\n\n"+
			`data: {"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":20}}}`+"\n\ndata: [DONE]\n\n")
	})
	u.Server = httptest.NewServer(mux)
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) config() llmgateway.Config {
	return llmgateway.Config{Servers: []llmgateway.Server{{Name: "openai", BaseURL: u.URL + "/v1"}}}
}

func question() []chat.Message {
	return []chat.Message{chat.Text(chat.System, "be brief"), chat.Text(chat.User, "say hello")}
}

func TestCallIsMadeOnceAndAccountedFor(t *testing.T) {
	t.Parallel()
	w, up, pid := newWorld(t), newUpstream(t), newPID()
	w.gateway(t, up.config())
	first := question()
	w.tell(t, w.space, pid, window(1, 0, "openai/tiny", first, nil)...)
	evs := w.calls(t, pid, 1)
	done := last[llm.CallFinished](t, evs)
	if kinds(evs) != "call_started call_finished" || done.Message.String() != "Hello you" || done.FinishReason != "stop" {
		t.Errorf("facts %s, reply %+v", kinds(evs), done)
	}
	if want := (llm.Usage{InputTokens: 30, CachedTokens: 20, OutputTokens: 2}); done.Usage != want {
		t.Errorf("usage %+v, want %+v", done.Usage, want)
	}
	// The next step appends to the window; the same window again, and one of an older epoch, start nothing.
	second := slices.Concat(first, []chat.Message{done.Message, chat.Text(chat.User, "again")})
	evs2 := window(2, 2, "openai/tiny", second, nil)
	w.tell(t, w.space, pid, evs2...)
	w.calls(t, pid, 2)
	w.tell(t, w.space, pid, window(2, 4, "openai/tiny", second, nil)...)
	w.tell(t, w.space, pid, window(3, 4, "openai/tiny", second, func(a *agentctx.WindowAssembled) { a.Epoch = 0 })...)
	w.tell(t, w.space, pid, window(3, 4, "openai/tiny", second, nil)...)
	all := w.calls(t, pid, 3)
	if got := kinds(all); got != strings.TrimSpace(strings.Repeat("call_started call_finished ", 3)) || up.requests.Load() != 3 {
		t.Errorf("facts %s, %d requests", got, up.requests.Load())
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	t.Parallel()
	w, up := newWorld(t), newUpstream(t)
	w.gateway(t, up.config())
	tests := []struct {
		name   string
		model  string
		change func(*agentctx.WindowAssembled)
		code   string
		reason string
	}{
		{"unknown provider", "nobody/x", nil, "not_found", "/v1/models"},
		{"unknown model", "openai/huge", nil, "not_found", "tiny"},
		{"no cassette", "replay/none", nil, "not_found", "none.jsonl"},
		{"tokens used up", "openai/tiny", func(a *agentctx.WindowAssembled) { a.RemainingTokens = 20 }, "quota", "max_tokens"},
		{"too long", "openai/tiny", func(a *agentctx.WindowAssembled) { a.Tokens = 5000 }, "quota", "larger context"},
		{"unknown tool", "openai/tiny", func(a *agentctx.WindowAssembled) { a.Tools = []string{"drill"} }, "not_found", `"drill"`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			pid := newPID()
			w.tell(t, w.space, pid, window(1, 0, tc.model, question(), tc.change)...)
			got := last[llm.CallRefused](t, w.calls(t, pid, 1))
			if got.Code != tc.code || !strings.Contains(got.Reason, tc.reason) {
				t.Errorf("refused with %s: %s", got.Code, got.Reason)
			}
		})
	}
	t.Cleanup(func() {
		if up.requests.Load() != 0 {
			t.Errorf("%d requests were sent", up.requests.Load())
		}
	})
}

func TestDamagedWindowFailsTheCall(t *testing.T) {
	t.Parallel()
	w, up, pid := newWorld(t), newUpstream(t), newPID()
	w.gateway(t, up.config())
	w.tell(t, w.space, pid, window(1, 0, "openai/tiny", question(), func(a *agentctx.WindowAssembled) { a.Hash = "0" })...)
	got := last[llm.CallFailed](t, w.calls(t, pid, 1))
	if got.Code != "internal" || up.requests.Load() != 0 {
		t.Errorf("failed with %s: %s, %d requests", got.Code, got.Reason, up.requests.Load())
	}
}

func TestKillCutsTheConnection(t *testing.T) {
	t.Parallel()
	w, up, pid := newWorld(t), newUpstream(t), newPID()
	up.hang.Store(true)
	w.gateway(t, up.config())
	w.tell(t, w.space, pid, window(1, 0, "openai/tiny", question(), nil)...)
	<-up.began
	w.tell(t, w.agent, pid, agent.Terminated{Reason: "killed", Signal: "kill"})
	committed := time.Now()
	select {
	case at := <-up.gone:
		t.Logf("the engine was free %s after the commit of agent.terminated", at.Sub(committed))
	case <-time.After(patience):
		t.Fatal("the engine is still busy")
	}
	evs := w.calls(t, pid, 1)
	got := last[llm.CallCancelled](t, evs)
	if kinds(evs) != "call_started call_cancelled" || !got.Usage.Counted || got.Usage.InputTokens != 20 || got.Usage.OutputTokens < 1 {
		t.Errorf("facts %s, cancelled %+v", kinds(evs), got)
	}
	// A window that comes after the end starts nothing.
	w.tell(t, w.space, pid, window(2, 2, "openai/tiny", append(question(), chat.Text(chat.User, "more")), nil)...)
	if refused := last[llm.CallRefused](t, w.calls(t, pid, 2)); refused.Code != "canceled" {
		t.Errorf("refused with %+v", refused)
	}
}

func TestCallIsTakenOverAfterACrash(t *testing.T) {
	t.Parallel()
	w, up, pid := newWorld(t), newUpstream(t), newPID()
	up.hang.Store(true)
	stop := w.gateway(t, up.config())
	w.tell(t, w.space, pid, window(1, 0, "openai/tiny", question(), nil)...)
	<-up.began
	stop() // past its grace: the call is cut and has no outcome
	if evs := w.stream(t, pid); kinds(evs) != "call_started" {
		t.Fatalf("a stop made %s", kinds(evs))
	}
	up.hang.Store(false)
	w.gateway(t, up.config())
	evs := w.calls(t, pid, 1)
	if kinds(evs) != "call_started call_started call_finished" {
		t.Fatalf("facts %s", kinds(evs))
	}
	again, _ := evs[1].(llm.CallStarted)
	if again.Call.Attempt != 2 || !again.Lost.Unknown || again.Lost.InputTokens != 20 || again.Lost.OutputTokens != 500 {
		t.Errorf("second attempt %+v", again)
	}
	if done := last[llm.CallFinished](t, evs); done.Call.Attempt != 2 || done.Message.String() != "Hello you" {
		t.Errorf("finished %+v", done)
	}
}

func TestReplayRunsToTheEndOfTheRecording(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	recorded := append(question(), chat.Text(chat.Assistant, "Hello"), chat.Text(chat.User, "stop"))
	b := cassette.NewBuilder(cassette.Header{Name: "hello", Origin: cassette.OriginScript})
	b.Add("one", recorded, nil)
	f, err := os.Create(filepath.Join(folder, "hello.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Write(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	w, pid, other := newWorld(t), newPID(), newPID()
	w.gateway(t, llmgateway.Config{CassetteFolders: []string{folder}})
	w.tell(t, w.space, pid, window(1, 0, "replay/hello", recorded[:2], nil)...)
	done := last[llm.CallFinished](t, w.calls(t, pid, 1))
	if done.Message.Hash() != recorded[2].Hash() || !done.Usage.Counted || done.Usage.CostMicroUSD != 0 || done.Usage.InputTokens != 20 {
		t.Errorf("finished %+v", done)
	}
	w.tell(t, w.space, pid, window(2, 2, "replay/hello", recorded, nil)...)
	if end := last[llm.CallRefused](t, w.calls(t, pid, 2)); end.Code != llm.CodeRecordingEnded {
		t.Errorf("refused %+v", end)
	}
	w.tell(t, w.space, other, window(1, 0, "replay/hello", []chat.Message{chat.Text(chat.User, "who?")}, nil)...)
	if failed := last[llm.CallFailed](t, w.calls(t, other, 1)); failed.Code != "not_found" || !strings.Contains(failed.Reason, "conversation one, message 0 differs") {
		t.Errorf("failed %+v", failed)
	}
	evs := w.until(t, "registry", func(evs []events.Event) bool { return true })
	if list := last[llm.CatalogPublished](t, evs); len(list.Models) != 1 || list.Models[0].ID != "replay/hello" || list.Models[0].Source != "script" {
		t.Errorf("catalogue %+v", list)
	}
}
