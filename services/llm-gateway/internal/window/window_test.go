package window_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
	agentctx "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/window"
)

// store is an event store with one stream per pid, in memory.
type store struct {
	streams map[string][]events.Event
	reads   int
	err     error
}

func (s *store) ReadStream(_ context.Context, tenant, stream string, from int64) ([]events.Record, error) {
	s.reads++
	if s.err != nil {
		return nil, s.err
	}
	var recs []events.Record
	for i := range s.streams[stream] {
		if v := int64(i + 1); v >= from {
			recs = append(recs, record(tenant, stream, v))
		}
	}
	return recs, nil
}

func (s *store) Decode(r events.Record) (events.Event, error) {
	return s.streams[r.Stream][r.StreamVersion-1], nil
}

func record(tenant, stream string, version int64) events.Record {
	return events.Record{Tenant: tenant, Stream: stream, StreamVersion: version, Time: time.Unix(version, 0)}
}

// history is pages and windows of a process: the window of each step keeps some pages of the one before
// and appends new ones, and now and then old ones again.
func history(t *rapid.T) (evs []events.Event, windows map[int64][]chat.Message) {
	windows = map[int64][]chat.Message{}
	var current, all []chat.Message
	for step := 1; step <= rapid.IntRange(1, 6).Draw(t, "steps"); step++ {
		keep := len(current)
		if step > 1 && rapid.IntRange(0, 3).Draw(t, "evict") == 0 {
			keep = rapid.IntRange(0, keep).Draw(t, "keep")
		}
		next := append([]chat.Message(nil), current[:keep]...)
		for i := range rapid.IntRange(1, 3).Draw(t, "new") {
			m := chat.Text(chat.User, fmt.Sprintf("step %d page %d", step, i))
			if len(all) > 0 && rapid.IntRange(0, 4).Draw(t, "old") == 0 {
				m = rapid.SampledFrom(all).Draw(t, "again")
				evs = append(evs, agentctx.PageWritten{Hash: m.Hash()})
			} else {
				evs = append(evs, agentctx.PageWritten{Hash: m.Hash(), Message: &m})
				all = append(all, m)
			}
			next = append(next, m)
		}
		w := agentctx.WindowAssembled{Step: step, Epoch: 1, Keep: keep, Hash: chat.Chain(next), Pages: len(next)}
		for _, m := range next[keep:] {
			w.Appended = append(w.Appended, m.Hash())
		}
		evs = append(evs, w)
		windows[int64(len(evs))] = next
		current = next
	}
	return evs, windows
}

// TestAnyOrderOfForgettingGivesTheSameWindows delivers facts twice, late and after the memory was lost.
func TestAnyOrderOfForgettingGivesTheSameWindows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		evs, windows := history(t)
		stream := events.Context.Stream("p1")
		s := &store{streams: map[string][]events.Event{stream: evs}}
		size := rapid.SampledFrom([]int{1, 5000, 1 << 20}).Draw(t, "size")
		c := window.New(s, size)
		for i := 0; i < len(evs); i++ {
			v := int64(i + 1)
			switch rapid.IntRange(0, 9).Draw(t, "trouble") {
			case 0:
				c.Clear()
			case 1:
				continue // told by another replica
			case 2:
				i = rapid.IntRange(0, i).Draw(t, "back") // a batch that did not commit
				v = int64(i + 1)
			case 3:
				c.Observe(record("default", events.Context.Stream("other"), 1), agentctx.PageWritten{})
			}
			c.Observe(record("default", stream, v), evs[i])
			want, ok := windows[v]
			if !ok {
				continue
			}
			space, err := c.At(t.Context(), "default", "p1", v)
			if err != nil {
				t.Fatal(err)
			}
			got, err := space.Messages()
			if err != nil || chat.Chain(got) != chat.Chain(want) || !space.OpenedAt.Equal(time.Unix(v, 0)) {
				t.Fatalf("version %d: %v, %v", v, got, err)
			}
			byStep, err := c.Step(t.Context(), "default", "p1", space.Window.Step, 1)
			if err != nil || byStep.Window.Hash != space.Window.Hash {
				t.Fatalf("window of step %d: %v", space.Window.Step, err)
			}
		}
	})
}

func TestTheHotPathReadsNothing(t *testing.T) {
	t.Parallel()
	s := &store{streams: map[string][]events.Event{}}
	c := window.New(s, 1<<20)
	m := chat.Text(chat.User, "hi")
	stream := events.Context.Stream("p")
	c.Observe(record("default", stream, 1), agentctx.PageWritten{Hash: m.Hash(), Message: &m})
	c.Observe(record("default", stream, 2), agentctx.WindowAssembled{Step: 1, Appended: []string{m.Hash()}, Hash: chat.Chain([]chat.Message{m})})
	space, err := c.At(t.Context(), "default", "p", 2)
	if err != nil || s.reads != 0 {
		t.Fatalf("%d reads: %v", s.reads, err)
	}
	if got, err := space.Messages(); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	// Tenants do not see each other's windows.
	if _, err := c.At(t.Context(), "other", "p", 2); err != nil || s.reads != 1 {
		t.Errorf("%d reads: %v", s.reads, err)
	}
}

func TestRunningRequestsKeepTheirMessages(t *testing.T) {
	t.Parallel()
	var s window.Space
	var version int64
	page := func(text string) string {
		m := chat.Text(chat.User, text)
		version++
		s.Apply(version, time.Time{}, agentctx.PageWritten{Hash: m.Hash(), Message: &m})
		return m.Hash()
	}
	open := func(keep int, chain string, hashes ...string) []chat.Message {
		version++
		s.Apply(version, time.Time{}, agentctx.WindowAssembled{Keep: keep, Appended: hashes, Hash: chain})
		got, err := s.Messages()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	texts := func(names ...string) string {
		var list []chat.Message
		for _, n := range names {
			list = append(list, chat.Text(chat.User, n))
		}
		return chat.Chain(list)
	}
	first := open(0, texts("a", "b"), page("a"), page("b"))
	second := open(2, texts("a", "b", "c"), page("c"))
	open(1, texts("a", "x", "y"), page("x"), page("y"))
	if chat.Chain(first) != texts("a", "b") || chat.Chain(second) != texts("a", "b", "c") {
		t.Errorf("an older window changed: %v, %v", first, second)
	}
}

func TestWhatDoesNotFitIsAnError(t *testing.T) {
	t.Parallel()
	m := chat.Text(chat.User, "hi")
	page := agentctx.PageWritten{Hash: m.Hash(), Message: &m}
	for name, evs := range map[string][]events.Event{
		"missing page": {agentctx.WindowAssembled{Appended: []string{m.Hash()}, Hash: chat.Chain([]chat.Message{m})}},
		"wrong hash":   {page, agentctx.WindowAssembled{Appended: []string{m.Hash()}, Hash: "x"}},
		"wrong base":   {page, agentctx.WindowAssembled{Keep: 3, Appended: []string{m.Hash()}, Hash: "x"}},
	} {
		stream := events.Context.Stream("p")
		c := window.New(&store{streams: map[string][]events.Event{stream: evs}}, 1000)
		space, err := c.Rebuild(t.Context(), "default", "p", int64(len(evs)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := space.Messages(); !fault.Is(err, fault.Internal) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Step(t.Context(), "default", "p", 9, 9); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: an unknown step: %v", name, err)
		}
	}
	away := window.New(&store{err: fault.New(fault.Unavailable, "x", "away")}, 1000)
	if _, err := away.At(t.Context(), "default", "p", 1); !fault.Is(err, fault.Unavailable) {
		t.Errorf("event store away: %v", err)
	}
}

func TestEndedIsLookedUpOnceAndRemembered(t *testing.T) {
	t.Parallel()
	c := window.New(&store{}, 1<<20)
	looks := 0
	look := func() (bool, error) { looks++; return false, nil }
	if _, err := c.Ended("default", "p", func() (bool, error) { return false, errors.New("away") }); err == nil {
		t.Error("a failed look counts")
	}
	for range 3 {
		if ended, err := c.Ended("default", "p", look); ended || err != nil {
			t.Errorf("ended %v: %v", ended, err)
		}
	}
	c.End("default", "p")
	c.End("default", "unseen")
	for _, pid := range []string{"p", "unseen"} {
		if ended, _ := c.Ended("default", pid, look); !ended {
			t.Errorf("%s has not ended", pid)
		}
	}
	if looks != 1 {
		t.Errorf("looked %d times", looks)
	}
}
