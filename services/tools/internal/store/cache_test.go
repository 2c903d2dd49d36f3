package store_test

import (
	"testing"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/services/tools/internal/store"
)

func TestCache(t *testing.T) {
	t.Parallel()
	c := store.NewCache[int, int](10)
	kept := 0
	for i := range 100 {
		c.Put(i, i)
		if v, ok := c.Get(0); !ok || v != 0 {
			t.Fatalf("what is read all the time was forgotten at %d", i)
		}
	}
	for i := range 100 {
		if _, ok := c.Get(i); ok {
			kept++
		}
	}
	if kept < 10 || kept > 21 {
		t.Errorf("%d are kept", kept)
	}
	c.Put(7, 8)
	c.Drop(7)
	if _, ok := c.Get(7); ok {
		t.Error("dropped, but there")
	}
	c.Put(7, 8)
	c.Clear()
	if _, ok := c.Get(7); ok {
		t.Error("cleared, but there")
	}
}

func TestEnding(t *testing.T) {
	t.Parallel()
	for _, e := range []events.Event{
		agent.SignalReceived{Signal: "kill"}, agent.Completed{}, agent.Failed{Code: "quota"}, agent.Terminated{Reason: "idle"},
	} {
		if reason, ended := store.Ending(e); !ended || reason == "" {
			t.Errorf("%+v: %q, %v", e, reason, ended)
		}
	}
	if _, ended := store.Ending(agent.SignalReceived{Signal: "terminate"}); ended {
		t.Error("a terminate leaves its grace time")
	}
	if _, ended := store.Ending(agent.Waiting{}); ended {
		t.Error("waiting is not over")
	}
}
