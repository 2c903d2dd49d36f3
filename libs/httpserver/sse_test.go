package httpserver

import (
	"bufio"
	"context"
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

	"github.com/agentos-kernel/agentos/libs/fault"
)

// streamServer serves one stream at /s through a real connection.
func streamServer(t *testing.T, heartbeat time.Duration, serve func(*Stream)) (url string, stop func() error) {
	t.Helper()
	s, err := New(Config{
		Addr: "127.0.0.1:0", APIKeys: StaticKey("k", "t"), Logger: slog.New(slog.DiscardHandler), Grace: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Group().GET("/s", func(c echo.Context) error {
		stream, err := newStream(c, heartbeat)
		if err != nil {
			return err
		}
		defer stream.Close()
		serve(stream)
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	return s.URL() + "/s", func() error { cancel(); return <-ran }
}

// open begins a stream; the test's end closes it.
func open(ctx context.Context, t *testing.T, url string) (io.Reader, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer k")
	transport := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	res, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res.Body, res.Header
}

func TestStreamFramesEvents(t *testing.T) {
	t.Parallel()
	url, stop := streamServer(t, time.Hour, func(s *Stream) {
		for _, ev := range [][3]string{{"1", "agent.spawned", `{"a":1}`}, {"", "", "two\r\nlines"}} {
			if err := s.Event(ev[0], ev[1], []byte(ev[2])); err != nil {
				t.Error(err)
			}
		}
		if err := s.Event("a\nb", "", nil); !fault.Is(err, fault.Internal) {
			t.Errorf("id with a line break: %v", err)
		}
	})
	body, header := open(t.Context(), t, url)
	raw, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	want := ": hello\n\nid: 1\nevent: agent.spawned\ndata: {\"a\":1}\n\ndata: two\ndata: lines\n\n"
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("stream (-want +got):\n%s", diff)
	}
	if got := header.Get("Content-Type"); got != EventStream {
		t.Errorf("content type %q", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestStreamBeatsAndEndsWithItsClient(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	url, stop := streamServer(t, time.Millisecond, func(s *Stream) {
		<-s.Done()
		ended <- s.Event("1", "late", nil)
	})
	ctx, leave := context.WithCancel(t.Context())
	body, _ := open(ctx, t, url)
	lines := bufio.NewScanner(body)
	for lines.Scan() && lines.Text() != ": alive" {
	}
	if lines.Text() != ": alive" {
		t.Fatalf("no heartbeat: %v", lines.Err())
	}
	leave()
	if err := <-ended; !fault.Is(err, fault.Canceled) {
		t.Errorf("event after the client left: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestStreamsEndWhenTheServerStops(t *testing.T) {
	t.Parallel()
	url, stop := streamServer(t, time.Hour, func(s *Stream) { <-s.Done() })
	body, _ := open(t.Context(), t, url)
	if err := stop(); err != nil { // with a grace of a minute: a stream that stayed would hang here
		t.Error(err)
	}
	if raw, err := io.ReadAll(body); err != nil || string(raw) != ": hello\n\n" {
		t.Errorf("stream %q, %v", raw, err)
	}
}

func TestStreamFailsWithoutAFlusher(t *testing.T) {
	t.Parallel()
	w := struct{ http.ResponseWriter }{httptest.NewRecorder()} // hides Flush
	c := echo.New().NewContext(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/s", nil), w)
	if _, err := SSE(c); !fault.Is(err, fault.Canceled) || !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("SSE: %v", err)
	}
}

func TestWantsStream(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "application/json": false, "text/event-stream": true,
		"application/json, Text/Event-Stream;q=0.9": true,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", strings.NewReader(""))
		r.Header.Set("Accept", accept)
		if got := WantsStream(echo.New().NewContext(r, nil)); got != want {
			t.Errorf("Accept %q: %v", accept, got)
		}
	}
}
