package httpserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"
	"go.uber.org/goleak"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
)

const testKey = "secret-key"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newServer is a server with the test's routes and one key.
func newServer(t *testing.T, edit func(*httpserver.Config), routes func(*echo.Group)) *httpserver.Server {
	t.Helper()
	cfg := httpserver.Config{
		Addr: "127.0.0.1:0", APIKeys: httpserver.StaticKey(testKey, "acme"), MaxBody: 100,
		Logger: slog.New(slog.DiscardHandler), Spec: []byte("openapi: 3.0.3\n"),
	}
	if edit != nil {
		edit(&cfg)
	}
	s, err := httpserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if routes != nil {
		routes(s.Group())
	}
	return s
}

// call sends one request with the key and decodes the problem document, if it is one.
func call(t *testing.T, s *httpserver.Server, r *http.Request) (*httptest.ResponseRecorder, httpserver.Problem) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	var p httpserver.Problem
	if w.Header().Get("Content-Type") == httpserver.ProblemType {
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatalf("problem document: %v", err)
		}
	}
	return w, p
}

func request(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+testKey)
	return r
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil, func(g *echo.Group) {
		g.GET("/v1/whoami", func(c echo.Context) error { return c.String(http.StatusOK, httpserver.Tenant(c)) })
	})
	for name, tc := range map[string]struct {
		path, header string
		status       int
	}{
		"right key":                {"/v1/whoami", "Bearer " + testKey, 200},
		"scheme in lower case":     {"/v1/whoami", "bearer " + testKey, 200},
		"no key":                   {"/v1/whoami", "", 401},
		"wrong key":                {"/v1/whoami", "Bearer secret-keyx", 401},
		"empty key":                {"/v1/whoami", "Bearer ", 401},
		"other scheme":             {"/v1/whoami", "Basic " + testKey, 401},
		"unknown route needs one":  {"/v1/nothing", "", 401},
		"path beside a public one": {"/healthz/x", "", 401},
		"healthz is public":        {"/healthz", "", 200},
		"readyz is public":         {"/readyz", "", 200},
		"metrics need one":         {"/metrics", "", 401},
		"spec needs one":           {"/openapi.yaml", "", 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, tc.path, nil)
			if tc.header != "" {
				r.Header.Set("Authorization", tc.header)
			}
			w, p := call(t, s, r)
			if w.Code != tc.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tc.status, w.Body)
			}
			if w.Code == 401 && (p.Code != "denied" || p.Fix == "" || w.Header().Get("WWW-Authenticate") != "Bearer") {
				t.Errorf("problem %+v, header %v", p, w.Header())
			}
			if w.Code == 200 && tc.path == "/v1/whoami" && w.Body.String() != "acme" {
				t.Errorf("tenant %q", w.Body)
			}
		})
	}
}

func TestEmptyConfiguredKeyMatchesNothing(t *testing.T) {
	t.Parallel()
	if _, ok := httpserver.StaticKey("", "acme")(""); ok {
		t.Fatal("an empty key was taken")
	}
}

func TestErrorsBecomeProblems(t *testing.T) {
	t.Parallel()
	secret := errors.New("pq: password of user scheduler is hunter2")
	s := newServer(t, nil, func(g *echo.Group) {
		fail := func(path string, err error) { g.GET(path, func(echo.Context) error { return err }) }
		fail("/conflict", fault.New(fault.Conflict, "x.y", "it has ended").WithFix("start another"))
		fail("/inner-fix", fault.Wrap(fault.NotFound, "x.y", "no such thing", fault.New(fault.Invalid, "z", "m").WithFix("look")))
		fail("/secret", fault.Wrap(fault.Unavailable, "x.y", "the database is away", secret))
		fail("/unknown", secret)
		fail("/binding", echo.NewHTTPError(http.StatusBadRequest, "Invalid format for parameter limit: strconv.ParseInt"))
		g.GET("/panic", func(echo.Context) error { panic("boom") })
		g.POST("/post", func(c echo.Context) error { return c.NoContent(http.StatusNoContent) })
	})
	for path, want := range map[string]httpserver.Problem{
		"/conflict":  {Title: "Conflict", Status: 409, Detail: "it has ended", Code: "conflict", Fix: "start another"},
		"/inner-fix": {Title: "Not found", Status: 404, Detail: "no such thing", Code: "not_found", Fix: "look"},
		"/secret":    {Title: "Unavailable", Status: 503, Detail: "the database is away", Code: "unavailable"},
		"/unknown": {
			Title: "Internal error", Status: 500, Code: "internal",
			Detail: "something unexpected happened; the server's log says what",
		},
		"/binding": {
			Title: "Invalid request", Status: 400, Detail: "parameter limit has the wrong format", Code: "invalid",
			Fix: "GET /openapi.yaml says what parameters the route takes",
		},
		"/panic":   {Title: "Internal error", Status: 500, Detail: "a defect stopped this request", Code: "internal"},
		"/nothing": {Title: "Not found", Status: 404, Detail: "no such route", Code: "not_found", Fix: "GET /openapi.yaml lists the routes"},
		"/post": {
			Title: "Method not allowed", Status: 405, Detail: "this route does not take this method", Code: "invalid",
			Fix: "the Allow header and GET /openapi.yaml list the methods",
		},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			want.Type, want.Instance = "about:blank", path
			w, got := call(t, s, request(t, http.MethodGet, path, ""))
			if diff := cmp.Diff(want, got); diff != "" || w.Code != want.Status {
				t.Errorf("status %d, problem (-want +got):\n%s", w.Code, diff)
			}
			if strings.Contains(w.Body.String(), "hunter2") {
				t.Error("the cause reached the caller")
			}
			if w.Header().Get("X-Request-Id") == "" {
				t.Error("no request id")
			}
		})
	}
}

func TestReadyTellsWhy(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *httpserver.Config) {
		c.Ready = func(context.Context) error {
			return fault.New(fault.Internal, "bus", "the broker does not answer").WithFix("start it")
		}
	}, nil)
	w, p := call(t, s, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
	if w.Code != 503 || p.Code != "unavailable" || !strings.Contains(p.Detail, "broker does not answer") || p.Fix != "start it" {
		t.Fatalf("status %d, problem %+v", w.Code, p)
	}
}

func TestRequestIDIsKeptOnlyWhenHarmless(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil, nil)
	for id, kept := range map[string]bool{"abc-1": true, "a b": false, strings.Repeat("x", 65): false} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", nil)
		r.Header.Set("X-Request-Id", id)
		w, _ := call(t, s, r)
		if got := w.Header().Get("X-Request-Id"); (got == id) != kept || got == "" {
			t.Errorf("id %q came back as %q", id, got)
		}
	}
}

func TestMetricsCountRequests(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil, nil)
	call(t, s, request(t, "BREW", "/tea", ""))
	w, _ := call(t, s, request(t, http.MethodGet, "/metrics", ""))
	if want := `agentos_http_request_seconds_count{method="other",route="none",status="404"} 1`; !strings.Contains(w.Body.String(), want) {
		t.Errorf("no %s in\n%s", want, w.Body)
	}
}

func TestRunLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	started, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, nil, func(g *echo.Group) {
		g.GET("/slow", func(c echo.Context) error {
			close(started)
			<-release
			return c.String(http.StatusOK, "done")
		})
	})
	ctx, stop := context.WithCancel(t.Context())
	if err := s.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.URL(), "http://127.0.0.1:") {
		t.Fatalf("URL %q", s.URL())
	}
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()

	answer := make(chan string, 1)
	go func() { answer <- get(t, s.URL()+"/slow") }()
	<-started
	stop()
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("answer %q", got)
	}
	if err := <-ran; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestRunGivesUpAfterTheGrace(t *testing.T) {
	t.Parallel()
	started, ended := make(chan struct{}), make(chan struct{})
	s := newServer(t, func(c *httpserver.Config) { c.Grace = time.Millisecond }, func(g *echo.Group) {
		g.GET("/stuck", func(c echo.Context) error {
			defer close(ended)
			close(started)
			<-c.Request().Context().Done()
			return c.Request().Context().Err()
		})
	})
	ctx, stop := context.WithCancel(t.Context())
	if err := s.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	go get(t, s.URL()+"/stuck")
	<-started
	stop()
	if err := <-ran; !fault.Is(err, fault.Unavailable) {
		t.Errorf("Run: %v", err)
	}
	<-ended
}

func TestListenSaysWhatToDoAboutAPort(t *testing.T) {
	t.Parallel()
	first := newServer(t, nil, nil)
	if err := first.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := newServer(t, func(c *httpserver.Config) { c.Addr = strings.TrimPrefix(first.URL(), "http://") }, nil)
	if err := second.Listen(t.Context()); !fault.Is(err, fault.Unavailable) || fault.FixOf(err) == "" {
		t.Errorf("second Listen: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := first.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestNewRefusesAnIncompleteConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]httpserver.Config{
		"no keys":   {Logger: slog.New(slog.DiscardHandler)},
		"no logger": {APIKeys: httpserver.StaticKey("k", "t")},
		"negative":  {APIKeys: httpserver.StaticKey("k", "t"), Logger: slog.New(slog.DiscardHandler), MaxBody: -1},
	} {
		if _, err := httpserver.New(cfg); !fault.Is(err, fault.Invalid) || fault.FixOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// get is the body of one GET with the key; the test ends its connection.
func get(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	r.Header.Set("Authorization", "Bearer "+testKey)
	r.Close = true
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	raw, _ := io.ReadAll(res.Body)
	return string(raw)
}
