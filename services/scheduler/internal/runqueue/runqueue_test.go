package runqueue_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/services/scheduler/internal/runqueue"
)

func key(name string) runqueue.Key { return runqueue.Key{Tenant: "default", PID: name} }

func TestBestPriorityFirstThenLongestWaiting(t *testing.T) {
	t.Parallel()
	var granted []string
	q := runqueue.New(1, func(k runqueue.Key) { granted = append(granted, k.PID) })
	if !q.Keep(key("first")) {
		t.Fatal("a free slot was refused")
	}
	q.Wait(key("low"), 80)
	q.Wait(key("a"), 50)
	q.Wait(key("b"), 50)
	q.Wait(key("high"), 10)
	if q.Keep(key("first")) {
		t.Fatal("a process kept its slot although others wait")
	}
	for _, done := range []string{"first", "high", "a", "b"} {
		q.Release(key(done))
	}
	if diff := cmp.Diff([]string{"high", "a", "b", "low"}, granted); diff != "" {
		t.Fatal(diff)
	}
}

func TestAProcessThatWaitsAgainQueuesBehindItsEquals(t *testing.T) {
	t.Parallel()
	var granted []string
	q := runqueue.New(1, func(k runqueue.Key) { granted = append(granted, k.PID) })
	q.Wait(key("a"), 50)
	q.Wait(key("b"), 50)
	for range 4 {
		q.Wait(key(granted[len(granted)-1]), 50)
	}
	if diff := cmp.Diff([]string{"a", "b", "a", "b", "a"}, granted); diff != "" {
		t.Fatal(diff)
	}
}

// TestSlotsAreNeverOverdrawnNorLost: whatever happens in whatever order, no more processes hold a slot than
// there are, and nobody waits while one is free.
func TestSlotsAreNeverOverdrawnNorLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.IntRange(1, 4).Draw(t, "slots")
		q := runqueue.New(slots, func(runqueue.Key) {})
		for range rapid.IntRange(0, 60).Draw(t, "actions") {
			k := key(strconv.Itoa(rapid.IntRange(0, 8).Draw(t, "pid")))
			switch rapid.IntRange(0, 2).Draw(t, "action") {
			case 0:
				q.Keep(k)
			case 1:
				q.Wait(k, rapid.IntRange(0, 100).Draw(t, "priority"))
			case 2:
				q.Release(k)
			}
			running, waiting := q.Len()
			if running > slots || (waiting > 0 && running < slots) {
				t.Fatalf("%d run and %d wait with %d slots", running, waiting, slots)
			}
			if list := q.Running(); len(list) != running || len(slices.Compact(list)) != running {
				t.Fatalf("%d run, listed are %v", running, list)
			}
		}
	})
}
