package kernel

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Frame is one message of a stream of events as it stands on the wire.
type Frame struct{ ID, Name, Data string }

// Stream is an open stream of events.
type Stream struct {
	Frames chan Frame // closed at the end of the stream
	Close  func()
}

// OpenStream follows a process as a client without our library would.
func OpenStream(t testing.TB, url, key, pid, query, lastID string) *Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/agents/"+pid+"/events?"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req) //nolint:bodyclose // the reader below closes it
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}
	s := &Stream{Frames: make(chan Frame, 10_000), Close: cancel}
	go func() {
		defer close(s.Frames)
		defer func() { _ = res.Body.Close() }()
		in := bufio.NewScanner(res.Body)
		in.Buffer(nil, 16<<20)
		var f Frame
		for in.Scan() {
			name, value, _ := strings.Cut(in.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch name {
			case "id":
				f.ID = value
			case "event":
				f.Name = value
			case "data":
				f.Data += value
			case "":
				if f.Name != "" {
					s.Frames <- f
				}
				f = Frame{}
			}
		}
	}()
	return s
}

// All waits for the end of the stream and gives what came.
func (s *Stream) All() []Frame {
	var all []Frame
	for f := range s.Frames {
		all = append(all, f)
	}
	return all
}

// Facts are the frames that are events.
func Facts(frames []Frame) []Frame {
	var out []Frame
	for _, f := range frames {
		if f.Name != "delta" && f.Name != "reset" {
			out = append(out, f)
		}
	}
	return out
}
