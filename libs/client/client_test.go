package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

const pid = "p06ar2vr4t7m0yc8h3n5wq1zs8d"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve is a client of a server that answers with h.
func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return connect(t, srv.URL)
}

func connect(t *testing.T, url string) *client.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(client.Config{URL: url, Key: "k1", Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) //nolint:errchkjson // documents of the contract, which always encode
}

func TestProblemBecomesFault(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		media, body string
		status      int
		want        fault.Error
	}{
		"problem": {
			"application/problem+json; charset=utf-8", `{"title":"Conflict","detail":"it has ended","code":"conflict","fix":"start another"}`, 409,
			fault.Error{Kind: fault.Conflict, Op: "client.agent", Msg: "it has ended", Fix: "start another"},
		},
		"code before status": {
			"application/problem+json", `{"title":"T","code":"quota"}`, 418,
			fault.Error{Kind: fault.Quota, Op: "client.agent", Msg: "T"},
		},
		"unknown code": {
			"application/problem+json", `{"title":"T","code":"later"}`, 404,
			fault.Error{Kind: fault.NotFound, Op: "client.agent", Msg: "T"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tc.media)
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			_, err := c.Agent(t.Context(), pid)
			got, ok := err.(*fault.Error) //nolint:errorlint // the client promises this type
			if !ok {
				t.Fatalf("error %T", err)
			}
			if diff := cmp.Diff(tc.want, *got); diff != "" {
				t.Errorf("fault (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnotherServerIsNamed(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "nginx", http.StatusNotFound) })
	if _, err := c.Agent(t.Context(), pid); !fault.Is(err, fault.NotFound) || !strings.Contains(fault.FixOf(err), "AGENTOS_URL") {
		t.Errorf("error %v", err)
	}
	c = serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
	if _, err := c.Agent(t.Context(), pid); !fault.Is(err, fault.Internal) || fault.FixOf(err) == "" {
		t.Errorf("error %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	c := connect(t, srv.URL)
	if _, err := c.Agent(t.Context(), pid); !fault.Is(err, fault.Unavailable) || fault.FixOf(err) != client.FixStart {
		t.Errorf("error %v, fix %q", err, fault.FixOf(err))
	}
	if err := c.Follow(t.Context(), pid, 0, false, nil); !fault.Is(err, fault.Unavailable) || fault.FixOf(err) != client.FixStart {
		t.Errorf("error %v, fix %q", err, fault.FixOf(err))
	}
}

func TestGivingUpIsCanceled(t *testing.T) {
	t.Parallel()
	c := serve(t, func(http.ResponseWriter, *http.Request) {})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Agent(ctx, pid); !fault.Is(err, fault.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestPostIsRepeatedWithItsKey: the first try is cut off, the second refused for now, the third taken.
// A server that does not answer in time is away; it is not the caller who has given up.
func TestASlowServerIsUnavailable(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(srv.Close)
	c, err := client.New(client.Config{URL: srv.URL, Transport: &http.Transport{ResponseHeaderTimeout: 20 * time.Millisecond, DisableKeepAlives: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Agent(t.Context(), pid); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
}

func TestPostIsRepeatedWithItsKey(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Header.Get("Idempotency-Key")+" "+r.Header.Get("Authorization")+" "+string(body))
		switch len(seen) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			writeJSON(w, http.StatusAccepted, api.MessageAccepted{MessageID: "m1"})
		}
	})
	id, err := c.Send(t.Context(), pid, "hello")
	if err != nil || id != "m1" {
		t.Fatalf("id %q, %v", id, err)
	}
	if len(seen) != 3 || seen[0] != seen[1] || seen[1] != seen[2] {
		t.Fatalf("requests %q", seen)
	}
	if !strings.HasSuffix(seen[0], ` Bearer k1 {"content":"hello"}`) || strings.HasPrefix(seen[0], " ") {
		t.Errorf("request %q", seen[0])
	}
}

func TestRepetitionIsBounded(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	tries := 0
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		tries++
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if _, err := c.Agent(t.Context(), pid); !fault.Is(err, fault.Unavailable) || tries != 4 {
		t.Errorf("%d tries, error %v", tries, err)
	}
}

func TestAgentsReadsAllPages(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query()["state"]; len(got) != 2 || r.URL.Query().Get("name") != "a b" {
			t.Errorf("query %s", r.URL.RawQuery)
		}
		page := api.AgentPage{Agents: []api.Agent{{PID: "p1" + r.URL.Query().Get("cursor")}}}
		if r.URL.Query().Get("cursor") == "" {
			page.NextCursor = "x"
		}
		writeJSON(w, http.StatusOK, page)
	})
	var got []string
	filter := client.AgentFilter{States: []api.AgentState{api.StateReady, api.StateRunning}, Name: "a b"}
	for agent, err := range c.Agents(t.Context(), filter) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, agent.PID)
	}
	if diff := cmp.Diff([]string{"p1", "p1x"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestEventsReadsAllPages(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		after := r.URL.Query().Get("after")
		page := api.EventPage{Events: []api.Event{{Position: 5, Data: json.RawMessage(`{}`)}}, NextAfter: 5, More: after == "3"}
		if after == "5" {
			page.Events, page.NextAfter = []api.Event{{Position: 9, Data: json.RawMessage(`{}`)}}, 9
		}
		writeJSON(w, http.StatusOK, page)
	})
	var got []int64
	for ev, err := range c.Events(t.Context(), pid, 3) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ev.Position)
	}
	if diff := cmp.Diff([]int64{5, 9}, got); diff != "" {
		t.Error(diff)
	}
}

func TestContextReadsAllPages(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		part := `{"pid":"p","tokens":7,"window":{"step":1,"hash":"h"},"pages":[{"hash":"%s","message":{"role":"assistant","content":null}}]%s}`
		if r.URL.Query().Get("cursor") == "" {
			_, _ = fmt.Fprintf(w, part, "a", `,"next_cursor":"c"`)
			return
		}
		_, _ = fmt.Fprintf(w, part, "b", "")
	})
	got, err := c.Context(t.Context(), pid)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Pages) != 2 || got.Pages[0].Hash != "a" || got.Pages[1].Hash != "b" || got.NextCursor != "" || got.Tokens != 7 {
		t.Errorf("context %+v", got)
	}
	if got.Pages[0].Message.Content != nil {
		t.Error("null content became text")
	}
}

func TestNewRefusesAnAddress(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "localhost:1", "ftp://x", "http://", "://"} {
		if _, err := client.New(client.Config{URL: url}); !fault.Is(err, fault.Invalid) || fault.FixOf(err) == "" {
			t.Errorf("%q: %v", url, err)
		}
	}
}
