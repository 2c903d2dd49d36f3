package integration

import (
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// spanStore is a collector that keeps what it is sent.
type spanStore struct {
	mu    sync.Mutex
	spans []*trace.Span
}

func newSpanStore(t *testing.T) (store *spanStore, url string) {
	t.Helper()
	store = &spanStore{}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var in collector.ExportTraceServiceRequest
		raw, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(raw, &in)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("not an export of spans: %s, %v", r.URL.Path, err)
			return
		}
		store.mu.Lock()
		defer store.mu.Unlock()
		for _, rs := range in.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				store.spans = append(store.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(srv.Close)
	return store, srv.URL
}

func attribute(s *trace.Span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// about are the spans of one trace that belong to a process, by trace id.
func (s *spanStore) about(pid string) map[string][]*trace.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string][]*trace.Span{}
	ids := map[string]bool{}
	for _, sp := range s.spans {
		if attribute(sp, "agentos.subject") == pid || attribute(sp, "gen_ai.conversation.id") == pid {
			ids[hex.EncodeToString(sp.TraceId)] = true
		}
	}
	for _, sp := range s.spans {
		if id := hex.EncodeToString(sp.TraceId); ids[id] {
			found[id] = append(found[id], sp)
		}
	}
	return found
}

// TestOneTurnIsOneTrace: a task with a tool call leaves one trace with spans of every service that took
// part, and each span's parent is in it.
func TestOneTurnIsOneTrace(t *testing.T) {
	t.Parallel()
	store, url := newSpanStore(t)
	e := kernel.NewEngine(t, script)
	k := kernel.Up(t, append(e.Env(), "OTEL_EXPORTER_OTLP_ENDPOINT="+url))
	a := wait(t, k, spawn(t, k, api.AgentSpec{Task: "compute", Tools: []string{"calculator", "write_file"}}).PID)
	if a.State != api.StateCompleted {
		t.Fatalf("%s: %+v", a.State, a.Error)
	}
	kernel.AwaitEvent(t, k.Client, a.PID, "agent.completed")
	time.Sleep(2 * time.Second) // audit and learning hear of the end in their own time
	if err := k.Process.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	traces := store.about(a.PID)
	if len(traces) != 1 {
		t.Errorf("the turn has %d traces: %v", len(traces), names(traces))
	}
	for _, spans := range traces {
		checkTrace(t, spans)
	}
}

func names(traces map[string][]*trace.Span) map[string][]string {
	out := map[string][]string{}
	for id, spans := range traces {
		for _, s := range spans {
			out[id] = append(out[id], s.Name)
		}
	}
	return out
}

func checkTrace(t *testing.T, spans []*trace.Span) {
	t.Helper()
	ids, services, roots := map[string]bool{}, map[string]int{}, 0
	for _, s := range spans {
		ids[string(s.SpanId)] = true
		if name := attribute(s, "agentos.service"); name != "" {
			services[name]++
		}
		if strings.HasPrefix(s.Name, "chat ") {
			services["provider call"]++
		}
	}
	for _, s := range spans {
		switch {
		case len(s.ParentSpanId) == 0:
			roots++
		case !ids[string(s.ParentSpanId)]:
			t.Errorf("the parent of %q is not in the trace", s.Name)
		}
	}
	if roots != 1 {
		t.Errorf("%d spans have no parent", roots)
	}
	for _, name := range []string{"scheduler", "context", "llm-gateway", "tools", "provider call"} {
		if services[name] == 0 {
			t.Errorf("no span of %s; there are %v", name, slices.Sorted(maps.Keys(services)))
		}
	}
	fmt.Printf("one turn: %d spans, %v\n", len(spans), services)
}
