package stack

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// edgeBefore serves the edge before one upstream, which plays all services, and gives the edge's address and how to
// stop it.
func edgeBefore(t *testing.T, grace time.Duration, upstream http.Handler) (url string, stop func() error) {
	t.Helper()
	u := httptest.NewServer(upstream)
	t.Cleanup(u.Close)
	to := map[string]string{}
	for _, name := range ServiceNames() {
		to[name] = u.URL
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- RunEdge(ctx, "127.0.0.1:0", grace, to, func(url string) error { ready <- url; return nil })
	}()
	return <-ready, func() error { cancel(); return <-done }
}

func get(t *testing.T, url string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// The edge lives while the services behind it are away; it is not ready.
func TestEdgeIsHealthyByItself(t *testing.T) {
	t.Parallel()
	url, stop := edgeBefore(t, time.Second, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/v1/agents": 503} {
		if got, err := get(t, url+path); err != nil || got != want {
			t.Errorf("GET %s: %d %v, want %d", path, got, err, want)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// A request that runs when the edge is told to stop is answered.
func TestEdgeLetsRequestsEnd(t *testing.T) {
	t.Parallel()
	arrived, leave := make(chan struct{}), make(chan struct{})
	url, stop := edgeBefore(t, 30*time.Second, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-leave
		w.WriteHeader(http.StatusNoContent)
	}))
	answered := make(chan error, 1)
	status := 0
	go func() {
		var err error
		status, err = get(t, url+"/v1/agents")
		answered <- err
	}()
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // until the edge takes no more connections
		if _, err := get(t, url+"/healthz"); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	select {
	case err := <-stopped:
		t.Fatalf("the edge has stopped (%v) while a request runs", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(leave)
	if err := <-answered; err != nil || status != http.StatusNoContent {
		t.Errorf("the running request got %d %v", status, err)
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}
