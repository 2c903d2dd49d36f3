// Package chaos runs agents on a kernel whose parts are killed, frozen, cut off and crowded at random
// moments, and checks in Postgres, in Kafka, in the audit log and outside the kernel that nothing was
// lost, done twice or put out of order. The seed decides what is done to whom and when; nothing leaves
// loopback.
package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

var (
	seed      = flag.Uint64("seed", 0, "seed of the faults; 0 takes a new one")
	long      = flag.Bool("long", false, "run a round of each kind with 12 agents of 200 steps")
	only      = flag.String("kind", "", "run this kind of the long rounds only")
	realKafka = flag.Bool("kafka", false, "on a real Kafka instead of the embedded broker, where the kind allows it")
	agents    = flag.Int("agents", 12, "agents of a round")
	steps     = flag.Int("steps", 0, "steps of an agent; 0: 200 in long rounds, 80 in short ones")
)

const (
	think      = 150 * time.Millisecond // of the model, in each step
	shortSteps = 80
	longSteps  = 200
	roundLimit = 10 * time.Minute
)

func theSeed() uint64 {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	return *seed
}

// TestShort is what every check runs: one replica of each service, then two.
func TestShort(t *testing.T) { //nolint:paralleltest // it wants the machine for itself
	if os.Getenv("AGENTOS_TEST_CHAOS") == "" {
		t.Skip("opt-in: `make chaos-short` runs it")
	}
	mixed := kinds()[len(kinds())-1]
	for replicas := 1; replicas <= 2; replicas++ {
		t.Run(strconv.Itoa(replicas), func(t *testing.T) {
			round{kind: mixed, replicas: replicas, steps: shortSteps, faults: 14}.run(t)
		})
	}
}

// TestLong has a round of each kind.
func TestLong(t *testing.T) { //nolint:paralleltest // it wants the machine for itself
	if !*long {
		t.Skip("opt-in: `make chaos` runs it")
	}
	for _, k := range kinds() { //nolint:paralleltest // one at a time
		if (*only != "" && *only != k.name) || (*realKafka && (k.network || k.disks)) {
			continue
		}
		t.Run(k.name, func(t *testing.T) { round{kind: k, replicas: 1, steps: longSteps, faults: 1000}.run(t) })
		t.Run(k.name+"-2", func(t *testing.T) { round{kind: k, replicas: 2, steps: longSteps, faults: 1000}.run(t) })
	}
}

// round is one load under one kind of faults.
type round struct {
	kind     kind
	replicas int
	steps    int
	faults   int // at most
}

func (r round) run(t *testing.T) {
	t.Helper()
	if *steps > 0 {
		r.steps = *steps
	}
	fmt.Printf("%s: SEED=%d, %d agents of %d steps, %d replicas\n", t.Name(), theSeed(), *agents, r.steps, r.replicas)
	ctx, cancel := context.WithTimeout(t.Context(), roundLimit)
	defer cancel()
	l := newLoad(t, *agents, r.steps, think)
	w := newWorld(t, r.kind, r.replicas, l.engine.Env())
	defer w.close()
	l.watch(t, w.roots)
	c := startControls(t, w, theSeed())

	submitted := make(chan error, 1)
	go func() { submitted <- l.submit(ctx, w.clients("scheduler"), w.roots) }()
	recoveries, err := r.disturb(ctx, w, l)
	if err != nil {
		w.explain(t)
		t.Fatal(err)
	}
	if err := <-submitted; err != nil {
		t.Fatal(err)
	}
	if err := w.allEnded(ctx, l); err != nil {
		w.explain(t)
		t.Fatal(err)
	}
	if err := w.rest(ctx); err != nil {
		w.explain(t)
		t.Fatal(err)
	}
	r.check(t, w, l, c)
	fmt.Printf("%s: %s\n", t.Name(), recoveries)
	if n := w.exits(); len(n) > 0 {
		fmt.Printf("%s: ended by themselves and were started again: %v\n", t.Name(), n)
	}
}

// disturb carries out the plan until the load is over.
func (r round) disturb(ctx context.Context, w *world, l *load) (recoveries times, err error) {
	p := newPlan(theSeed(), r.kind, r.replicas)
	for n := 1; n <= r.faults; n++ {
		f := p.next()
		select {
		case <-time.After(f.Pause):
		case <-ctx.Done():
			return recoveries, ctx.Err()
		}
		if over, err := w.over(ctx, l); err != nil || over {
			return recoveries, err
		}
		began := time.Now()
		fmt.Printf("%s  fault %d: %s after %.1f s\n", began.Format("15:04:05.000"), n, f, f.Pause.Seconds())
		if err := w.do(ctx, f); err != nil {
			return recoveries, fmt.Errorf("fault %d, %s: %w", n, f, err)
		}
		over := time.Now()
		if f.What != faultKill {
			began = over
		}
		took, err := w.recovery(ctx, f, began)
		if err != nil {
			return recoveries, fmt.Errorf("after fault %d, %s: %w", n, f, err)
		}
		recoveries = append(recoveries, recovered{f, took, took - over.Sub(began)})
	}
	return recoveries, nil
}

func (r round) check(t *testing.T, w *world, l *load, c *controls) {
	t.Helper()
	ctx := t.Context()
	var y tally
	s, err := w.readStore(ctx, l, &y)
	if err != nil {
		t.Fatal(err)
	}
	l.effects(s, w.roots, &y)
	repeated, err := w.kafka(ctx, &y)
	if err != nil {
		t.Fatal(err)
	}
	safe, plain, byXID, err := c.finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if safe != (sight{}) {
		t.Errorf("the watermark's reader: %+v", safe)
	}
	if plain.lost == 0 || byXID.reordered == 0 {
		t.Errorf("the controls have proved nothing: plain cursor %+v, cursor by transaction id %+v", plain, byXID)
	}
	fmt.Printf("%s: %d events: %s; %d came twice on Kafka and were dropped; watermark %d/%d/%d; "+
		"controls: plain cursor lost %d, xid8 cursor reordered %d\n",
		t.Name(), s.events, &y, repeated, safe.lost, safe.doubled, safe.reordered, plain.lost, byXID.reordered)
	y.report(t)
	w.parked(t)
	w.audited(t)
	w.stopServices()
	w.rebuilt(t)
}

// over reports whether all accepted processes have ended and all were accepted.
func (w *world) over(ctx context.Context, l *load) (bool, error) {
	if l.accepted() < l.agents {
		return false, nil
	}
	var ended []string
	if err := w.db.QueryRow(ctx, endedSQL).Scan(&ended); err != nil {
		return false, fmt.Errorf("look for processes that have ended: %w", err)
	}
	return len(ended) >= l.agents, nil
}

func (w *world) allEnded(ctx context.Context, l *load) error {
	for {
		if over, err := w.over(ctx, l); err != nil || over {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("not all processes have ended: %w", ctx.Err())
		}
	}
}

// explain logs where everything stands.
func (w *world) explain(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	what, err := w.unrest(ctx)
	t.Logf("%s %v; ended by themselves: %v", what, err, w.exits())
}

// times are the recoveries of a round.
type times []recovered

type recovered struct {
	f     fault
	took  time.Duration // from the fault; from its end when it lasts
	after time.Duration // from when the victim was there again: a real Kafka takes its time to start
}

// String gives the figures of kills, and of everything else, apart.
func (all times) String() string {
	var kills, returns, others []time.Duration
	for _, r := range all {
		if r.f.What == faultKill {
			kills, returns = append(kills, r.took), append(returns, r.after)
		} else {
			others = append(others, r.took)
		}
	}
	return "recovery from kills: " + figures(kills) + " (after the victim was started again: " + figures(returns) +
		"); from other faults: " + figures(others)
}

func figures(took []time.Duration) string {
	if len(took) == 0 {
		return "none"
	}
	slices.Sort(took)
	return fmt.Sprintf("%d, p50 %.1f s, max %.1f s", len(took), took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
}
