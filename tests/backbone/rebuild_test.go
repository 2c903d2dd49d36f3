package backbone_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

// A rebuild gives the same rows, of what was handled and not of what is parked or not handled yet; it
// refuses beside a live replica, and a verification finds a row that differs and changes nothing.
func TestRebuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := &listener{}
	l.sick.Store(true)
	rt := w.Runtime(t, l.definition())
	stop := w.Run(t, rt)
	wr := w.Runtime(t, writer())
	w.Run(t, wr)
	for _, s := range []string{"a", "b", "c"} {
		send(t, wr, s, "one", "two", "three")
		testkit.Eventually(t, s+" heard", func() bool { return len(l.heard("agent/"+s)) == 3 })
	}
	send(t, wr, "bad", "one", "poison", "behind")
	conn := operator(t, w)
	testkit.Eventually(t, "two parked", func() bool { return waiting(parked(t, conn)) == 2 })
	if _, err := rt.Rebuild(t.Context(), false); !fault.Is(err, fault.Conflict) {
		t.Fatalf("beside a live replica: %v", err)
	}
	stop()
	send(t, wr, "a", "not handled yet")

	again := w.Runtime(t, (&listener{}).definition())
	res, err := again.Rebuild(t.Context(), true)
	if err != nil || res.Differs != "" || res.Rows != 10 || !slices.Equal(res.Tables, []string{"heard"}) {
		t.Fatalf("verify: %+v, %v", res, err)
	}
	clocky := w.Runtime(t, (&listener{clocky: true}).definition())
	res, err = clocky.Rebuild(t.Context(), true)
	if err != nil || !strings.Contains(res.Differs, "llm.heard") || !strings.Contains(res.Differs, "one again") {
		t.Fatalf("verify of a model with a clock in it: %+v, %v", res, err)
	}
	if _, err := conn.Exec(t.Context(), "DELETE FROM heard WHERE version = 2"); err != nil {
		t.Fatal(err)
	}
	res, err = again.Rebuild(t.Context(), true)
	if err != nil || !strings.Contains(res.Differs, "live no such row") {
		t.Fatalf("verify of a damaged model: %+v, %v", res, err)
	}
	if _, err := again.Rebuild(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if res, err = again.Rebuild(t.Context(), true); err != nil || res.Differs != "" || res.Rows != 10 {
		t.Fatalf("verify after the rebuild: %+v, %v", res, err)
	}

	// What was not handled is handled when the service runs again.
	well := &listener{}
	w.Run(t, w.Runtime(t, well.definition()))
	testkit.Eventually(t, "the fourth of a", func() bool { return slices.Equal(well.heard("agent/a"), []int64{4}) })
}

func TestPrimaryRecordIsNotRebuilt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	def := (&listener{}).definition()
	def.Rebuild.Primary = "it is the only one"
	if _, err := w.Runtime(t, def).Rebuild(t.Context(), false); !fault.Is(err, fault.Denied) {
		t.Fatalf("err %v", err)
	}
}

// An empty broker is filled from the store, twice, beside a running consumer: each event is handled once.
func TestRepublish(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wr := w.Runtime(t, writer())
	w.Run(t, wr)
	for _, s := range []string{"a", "b"} {
		send(t, wr, s, "one", "two", "three")
	}
	w2 := &testkit.World{Admin: w.Admin, Broker: testkit.Broker(t), Log: w.Log}
	w2.Topics(t)
	l := &listener{}
	w2.Run(t, w2.Runtime(t, l.definition()))
	pub, err := bus.NewPublisher(w2.Bus())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pub.Close() }()
	conn := operator(t, w)
	for range 2 {
		n, last, err := service.Republish(t.Context(), conn, pub, 1, 0)
		if err != nil || n != 6 || last < 6 {
			t.Fatalf("%d republished up to %d, %v", n, last, err)
		}
	}
	for _, s := range []string{"agent/a", "agent/b"} {
		testkit.Eventually(t, s, func() bool { return len(l.heard(s)) >= 3 })
		if got := l.heard(s); !slices.Equal(got, upTo(3)) {
			t.Errorf("%s: %v", s, got)
		}
	}
}

// A relay that was paused past its lock and goes on publishes what another has published since, long after
// newer events: consumers drop it by the stream's version, and lose no order.
func TestStaleRelayDoesNoHarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wr := w.Runtime(t, writer())
	w.Run(t, wr)
	l := &listener{}
	rt, metrics := measured(t, w, l.definition())
	w.Run(t, rt)
	pub, err := bus.NewPublisher(w.Bus())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pub.Close() }()
	conn := operator(t, w)
	send(t, wr, "z", "1", "2", "3", "4", "5")
	testkit.Eventually(t, "the first five", func() bool { return len(l.heard("agent/z")) == 5 })
	stale := int64(0)
	for i := range 5 {
		n, _, err := service.Republish(t.Context(), conn, pub, 1, 5)
		if err != nil {
			t.Fatal(err)
		}
		stale += n
		send(t, wr, "z", strconv.Itoa(6+i))
	}
	if stale == 0 {
		t.Fatal("nothing was published again")
	}
	dropped := func() float64 { n, _ := value(t, metrics, "agentos_duplicates_total"); return n }
	testkit.Eventually(t, "all ten, and what was stale", func() bool {
		return len(l.heard("agent/z")) >= 10 && dropped() >= float64(stale)
	})
	if got := l.heard("agent/z"); !slices.Equal(got, upTo(10)) {
		t.Errorf("heard %v", got)
	}
}
