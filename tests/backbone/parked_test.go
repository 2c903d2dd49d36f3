package backbone_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

func upTo(n int64) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(i + 1)
	}
	return out
}

// A retried event runs again with all that waits behind it, in order, and the stream is free again. A
// retry that fails parks it again with everything behind it.
func TestRetryHandsParkedEventsBackInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := &listener{}
	l.sick.Store(true)
	w.Run(t, w.Runtime(t, l.definition()))
	rt := w.Runtime(t, writer())
	w.Run(t, rt)
	send(t, rt, "bad", "fine", "poison", "behind", "behind")
	send(t, rt, "good", "fine")
	conn := operator(t, w)
	testkit.Eventually(t, "three parked", func() bool { return waiting(parked(t, conn)) == 3 })

	first := parked(t, conn)[0]
	if _, err := service.RetryParked(t.Context(), conn, tenant, "agent/bad"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "parked again", func() bool {
		list := parked(t, conn)
		return states(list)["parked"] == 3 && list[0].At.After(first.At)
	})
	if got := l.heard("agent/bad"); !slices.Equal(got, upTo(1)) {
		t.Fatalf("heard %v while it was sick", got)
	}

	l.sick.Store(false)
	if _, err := service.RetryParked(t.Context(), conn, tenant, "agent/bad"); err != nil {
		t.Fatal(err)
	}
	send(t, rt, "bad", "late", "late") // come while the others are given back
	testkit.Eventually(t, "nothing parked", func() bool { return waiting(parked(t, conn)) == 0 })
	send(t, rt, "bad", "after")
	testkit.Eventually(t, "all heard", func() bool { return len(l.heard("agent/bad")) >= 7 })
	if got := l.heard("agent/bad"); !slices.Equal(got, upTo(7)) {
		t.Fatalf("heard %v, want all in order once", got)
	}
	if _, err := service.RetryParked(t.Context(), conn, tenant, "agent/bad"); !fault.Is(err, fault.NotFound) {
		t.Fatalf("retry of nothing: %v", err)
	}
}

// A dropped event is skipped and kept as dropped; those behind it are handled.
func TestDropSkipsOneAndFreesTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := &listener{}
	l.sick.Store(true)
	w.Run(t, w.Runtime(t, l.definition()))
	rt := w.Runtime(t, writer())
	w.Run(t, rt)
	send(t, rt, "bad", "poison", "behind", "poison", "behind")
	conn := operator(t, w)
	testkit.Eventually(t, "four parked", func() bool { return waiting(parked(t, conn)) == 4 })
	for want := 2; want >= 0; want -= 2 {
		if _, err := service.DropParked(t.Context(), conn, tenant, "agent/bad"); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "dropped up to the next", func() bool {
			s := states(parked(t, conn))
			return s["parked"] == want && s["retry"]+s["drop"] == 0
		})
	}
	send(t, rt, "bad", "after")
	testkit.Eventually(t, "the last heard", func() bool { return len(l.heard("agent/bad")) == 3 })
	if got := l.heard("agent/bad"); !slices.Equal(got, []int64{2, 4, 5}) {
		t.Fatalf("heard %v", got)
	}
	if s := states(parked(t, conn)); s["dropped"] != 2 {
		t.Fatalf("states %v, want the dropped ones kept", s)
	}
}

// Another replica that takes over a stream knows that it is blocked, and serves a retry that was asked
// for while nobody ran.
func TestBlockedStreamsOutliveTheirReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sick := &listener{}
	sick.sick.Store(true)
	stop := w.Run(t, w.Runtime(t, sick.definition()))
	rt := w.Runtime(t, writer())
	w.Run(t, rt)
	send(t, rt, "bad", "poison")
	conn := operator(t, w)
	testkit.Eventually(t, "one parked", func() bool { return waiting(parked(t, conn)) == 1 })
	stop()
	send(t, rt, "bad", "behind")
	well := &listener{}
	stop = w.Run(t, w.Runtime(t, well.definition()))
	testkit.Eventually(t, "two parked", func() bool { return waiting(parked(t, conn)) == 2 })
	stop()
	testkit.Eventually(t, "its session is gone", func() bool {
		live, err := service.Live(t.Context(), conn, "llm")
		return err == nil && !live
	})
	if _, err := service.RetryParked(t.Context(), conn, tenant, "agent/bad"); err != nil {
		t.Fatal(err)
	}
	w.Run(t, w.Runtime(t, well.definition()))
	testkit.Eventually(t, "both heard", func() bool { return slices.Equal(well.heard("agent/bad"), upTo(2)) })
	if live, err := service.Live(t.Context(), conn, "llm"); err != nil || !live {
		t.Fatalf("live %v, %v while it runs", live, err)
	}
}

// A record that comes in to fill a hole and cannot be handled is parked itself, with its own reason; what
// was before it in the hole is handled, and other streams have nothing to do with it.
func TestPoisonInAHoleIsParkedAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rt := w.Runtime(t, writer())
	w.Run(t, rt)
	send(t, rt, "bad", "fine", "poison", "behind", "behind")
	// The broker has lost it all: the sweeper feeds the last record, and the shard reads the rest.
	w2 := &testkit.World{Admin: w.Admin, Broker: testkit.Broker(t), Log: w.Log}
	w2.Topics(t)
	l := &listener{}
	l.sick.Store(true)
	w2.Run(t, w2.Runtime(t, l.definition()))
	conn := operator(t, w)
	testkit.Eventually(t, "three parked", func() bool { return waiting(parked(t, conn)) == 3 })
	if got := l.heard("agent/bad"); !slices.Equal(got, upTo(1)) {
		t.Errorf("heard %v, want the one before the poison", got)
	}
	for i, p := range parked(t, conn) {
		if p.Version != int64(i+2) || strings.Contains(p.Reason, "behind") != (i > 0) {
			t.Errorf("%+v", p)
		}
	}
}

// Parked events are given back while their stream moves from one replica to another and back, and new
// events come: each is handled once, in order.
func TestRetryAcrossRebalances(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := &listener{}
	l.sick.Store(true)
	w.Run(t, w.Runtime(t, l.definition()))
	rt := w.Runtime(t, writer())
	w.Run(t, rt)
	const streams, each = 8, 30
	for i := range streams {
		s := fmt.Sprintf("s%d", i)
		send(t, rt, s, "fine", "poison")
		for range each {
			send(t, rt, s, "behind")
		}
	}
	conn := operator(t, w)
	testkit.Eventually(t, "all parked", func() bool { return waiting(parked(t, conn)) == streams*(each+1) })
	l.sick.Store(false)
	for i := range streams {
		if _, err := service.RetryParked(t.Context(), conn, tenant, fmt.Sprintf("agent/s%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	stop := w.Run(t, w.Runtime(t, l.definition())) // a second replica joins and leaves
	for i := range streams {
		send(t, rt, fmt.Sprintf("s%d", i), "late", "late")
	}
	stop()
	testkit.Eventually(t, "nothing parked", func() bool { return waiting(parked(t, conn)) == 0 })
	for i := range streams {
		s := fmt.Sprintf("agent/s%d", i)
		testkit.Eventually(t, s, func() bool { return len(l.heard(s)) >= each+4 })
		if got := l.heard(s); !slices.Equal(got, upTo(each+4)) {
			t.Errorf("%s: %v", s, got)
		}
	}
}
