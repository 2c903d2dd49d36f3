package client

import (
	"bytes"
	"context"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"
	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/libs/httpserver"
)

// TestFramesComeBack: what the server's stream sends is what the client reads.
func TestFramesComeBack(t *testing.T) {
	t.Parallel()
	word := rapid.StringMatching(`[a-z0-9/._]{1,12}`)
	rapid.Check(t, func(t *rapid.T) {
		var want []frame
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			data := rapid.SliceOf(rapid.SampledFrom([]byte("ab: \n{}\xc3"))).Draw(t, "data")
			want = append(want, frame{id: word.Draw(t, "id"), name: word.Draw(t, "name"), data: data})
		}
		w := httptest.NewRecorder()
		stream, err := httpserver.SSE(echo.New().NewContext(httptest.NewRequestWithContext(context.Background(), "GET", "/", nil), w))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range want {
			if err := stream.Event(f.id, f.name, f.data); err != nil {
				t.Fatal(err)
			}
		}
		stream.Close()
		i := 0
		err = readFrames(w.Body, func(got frame) error {
			if i >= len(want) || got.id != want[i].id || got.name != want[i].name || !bytes.Equal(got.data, want[i].data) {
				t.Fatalf("frame %d is %+v", i, got)
			}
			i++
			return nil
		})
		if err != nil || i != len(want) {
			t.Fatalf("%d of %d frames, %v", i, len(want), err)
		}
	})
}

// FuzzReadFrames: no stream makes the reader panic, and cutting one short never adds an event.
func FuzzReadFrames(f *testing.F) {
	for _, seed := range []string{": hi\n\nid: 1\ndata: x\n\n", "data\n\n", "data: a\r\n\r\n", "event: e\n\n", ":\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		count := func(b []byte) (n int) {
			_ = readFrames(bytes.NewReader(b), func(frame) error { n++; return nil })
			return n
		}
		if whole, half := count(raw), count(raw[:len(raw)/2]); half > whole {
			t.Fatalf("%d events in half of it, %d in the whole", half, whole)
		}
	})
}
