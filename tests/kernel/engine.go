package kernel

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/events/chat"
)

// EngineModel is the one model an Engine has; a kernel names it "openai/tiny".
const EngineModel = "tiny"

// EngineCall is a chat completion that was asked for.
type EngineCall struct {
	Number   int            `json:"-"` // of requests with the same task, from 1
	Task     string         `json:"-"`
	Messages []chat.Message `json:"messages"`
	Stream   bool           `json:"stream"`
}

// EngineAnswer is what the engine does about it.
type EngineAnswer struct {
	Status     int             // other than 200: an error
	RetryAfter string          // header of an error
	Pieces     []string        // of the text, streamed one by one
	Pause      time.Duration   // before each piece
	Calls      []chat.ToolCall // after the text
	Cut        bool            // the connection breaks after the pieces
	Cached     int64           // of the prompt's tokens
}

// EngineUsage is what an engine has charged for answers it gave whole.
type EngineUsage struct {
	Calls                 int
	Input, Cached, Output int64
}

// Engine is a server with the OpenAI chat completions interface that answers as the test says.
type Engine struct {
	URL string // with /v1

	server *httptest.Server
	answer func(EngineCall) EngineAnswer
	mu     sync.Mutex
	counts map[string]int
	usage  map[string]EngineUsage
	gone   map[string]chan time.Time
}

// NewEngine starts one; it ends with the test.
func NewEngine(t testing.TB, answer func(EngineCall) EngineAnswer) *Engine {
	t.Helper()
	e := &Engine{answer: answer, counts: map[string]int{}, usage: map[string]EngineUsage{}, gone: map[string]chan time.Time{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"object":"list","data":[{"id":%q,"object":"model","max_model_len":100000}]}`, EngineModel)
	})
	mux.HandleFunc("POST /v1/chat/completions", e.complete)
	e.server = httptest.NewServer(mux)
	t.Cleanup(e.server.Close)
	e.URL = e.server.URL + "/v1"
	return e
}

// Env makes a kernel use the engine.
func (e *Engine) Env() []string {
	return []string{"OPENAI_BASE_URL=" + e.URL, "OPENAI_API_KEY=test", "OLLAMA_HOST=127.0.0.1:1"}
}

// Close takes the engine away.
func (e *Engine) Close() {
	e.server.CloseClientConnections()
	e.server.Close()
}

// Requests is how many requests came for a task.
func (e *Engine) Requests(task string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts[task]
}

// Usage is what the engine charged for a task.
func (e *Engine) Usage(task string) EngineUsage {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.usage[task]
}

// Gone tells when a client gave up a request for a task before its answer was whole.
func (e *Engine) Gone(task string) <-chan time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.goneLocked(task)
}

func (e *Engine) goneLocked(task string) chan time.Time {
	if e.gone[task] == nil {
		e.gone[task] = make(chan time.Time, 100)
	}
	return e.gone[task]
}

func (e *Engine) complete(w http.ResponseWriter, r *http.Request) {
	var call EngineCall
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, m := range call.Messages {
		if m.Role == chat.User {
			call.Task = m.String()
			break
		}
	}
	e.mu.Lock()
	e.counts[call.Task]++
	call.Number = e.counts[call.Task]
	e.mu.Unlock()
	a := e.answer(call)
	if a.Status != 0 && a.Status != http.StatusOK {
		if a.RetryAfter != "" {
			w.Header().Set("Retry-After", a.RetryAfter)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.Status)
		_, _ = fmt.Fprintf(w, `{"error":{"message":"status %d was asked for","type":"test"}}`, a.Status)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, text := range a.Pieces {
		select {
		case <-time.After(a.Pause):
		case <-r.Context().Done():
			e.mu.Lock()
			e.goneLocked(call.Task) <- time.Now()
			e.mu.Unlock()
			return
		}
		e.send(w, map[string]any{"content": text}, "")
	}
	if a.Cut {
		panic(http.ErrAbortHandler) // how a handler breaks its connection
	}
	e.finish(w, call, a)
}

func (e *Engine) finish(w http.ResponseWriter, call EngineCall, a EngineAnswer) {
	reason := "stop"
	if len(a.Calls) > 0 {
		reason = "tool_calls"
		calls := make([]map[string]any, len(a.Calls))
		for i, c := range a.Calls {
			calls[i] = map[string]any{"index": i, "id": c.ID, "type": "function", "function": c.Function}
		}
		e.send(w, map[string]any{"tool_calls": calls}, "")
	}
	e.send(w, map[string]any{}, reason)
	input, output := int64(7*len(call.Messages)+3), int64(len(a.Pieces)+5*len(a.Calls)+1)
	_, _ = fmt.Fprintf(w, "data: {\"id\":\"c\",\"model\":%q,\"choices\":[],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,"+
		"\"prompt_tokens_details\":{\"cached_tokens\":%d}}}\n\ndata: [DONE]\n\n", EngineModel, input, output, a.Cached)
	e.mu.Lock()
	defer e.mu.Unlock()
	u := e.usage[call.Task]
	e.usage[call.Task] = EngineUsage{u.Calls + 1, u.Input + input, u.Cached + a.Cached, u.Output + output}
}

func (e *Engine) send(w http.ResponseWriter, delta map[string]any, reason string) {
	choice := map[string]any{"index": 0, "delta": delta}
	if reason != "" {
		choice["finish_reason"] = reason
	}
	raw, err := json.Marshal(map[string]any{"id": "c", "model": EngineModel, "choices": []any{choice}})
	if err != nil {
		return // made of strings and numbers: cannot fail
	}
	_, _ = fmt.Fprintf(w, "data: %s\n\n", raw)
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}
