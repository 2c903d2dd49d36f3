package deployment

import (
	"fmt"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/tests/kernel"
)

// resumeLimit is how long new work may take to be done once Kafka is back, issue 5's bar.
const resumeLimit = 15 * time.Second

// rebalance: while conversations run, every service gets a second replica, and shards move to it.
func rebalance(t *testing.T, w *world) {
	t.Helper()
	l, check := w.load(t)
	progress(t, l, 1)
	w.scale(t, 2)
	progress(t, l, 2*atOnce)
	check()
}

// scaledDown: the second replicas are stopped as an operator would, and their work goes to the first.
func scaledDown(t *testing.T, w *world) {
	t.Helper()
	l, check := w.load(t)
	progress(t, l, 1)
	w.scale(t, 1)
	progress(t, l, atOnce)
	check()
}

// killed: kill -9 of one replica after the other; each is started again while the other does the work.
func killed(t *testing.T, w *world) {
	t.Helper()
	l, check := w.load(t)
	progress(t, l, 1)
	for i, s := range kernel.Names() {
		w.kill(t, s, i%2)
		time.Sleep(300 * time.Millisecond) // requests and steps meet the dead one
		w.start(t, s, i%2)
	}
	progress(t, l, atOnce)
	check()
}

// frozen: while one replica of every service stands still the others take all work, and nothing is lost or
// doubled when those wake and go on where they were.
func frozen(t *testing.T, w *world) {
	t.Helper()
	oneOfEach(t, w, w.pause, w.resume)
}

// cutOff: the same with replicas that run but reach nobody.
func cutOff(t *testing.T, w *world) {
	t.Helper()
	oneOfEach(t, w, w.cut, w.mend)
}

func oneOfEach(t *testing.T, w *world, take, give func(t *testing.T, service string, n int)) {
	t.Helper()
	l, check := w.load(t)
	progress(t, l, 1)
	for i, s := range kernel.Names() {
		take(t, s, i%2)
	}
	gone := time.Now()
	var took []time.Duration
	for range 8 { // both the shards that moved and those that stayed
		took = append(took, w.probe(t))
	}
	fmt.Printf("%s: a task took %.1f s at first and %.1f s after %.1f s without one replica of each\n", t.Name(),
		took[0].Seconds(), took[len(took)-1].Seconds(), time.Since(gone).Seconds())
	for i, s := range kernel.Names() {
		give(t, s, i%2)
	}
	progress(t, l, atOnce)
	check()
}

// kafkaRestarts: what came meanwhile is done once Kafka is back, and new work is within resumeLimit.
func kafkaRestarts(hard bool) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		t.Helper()
		l, check := w.load(t)
		progress(t, l, 1)
		gone := time.Now()
		w.restartKafka(t, hard)
		back := time.Now()
		w.probe(t)
		resumed := time.Since(back)
		fmt.Printf("%s: Kafka was away for %.1f s, a new task was done %.1f s after it was back\n", t.Name(), back.Sub(gone).Seconds(), resumed.Seconds())
		if resumed > resumeLimit {
			t.Errorf("work went on %.1f s after Kafka was back, more than %s", resumed.Seconds(), resumeLimit)
		}
		progress(t, l, atOnce)
		check()
	}
}

func postgresRestarts(hard bool) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		t.Helper()
		l, check := w.load(t)
		progress(t, l, 1)
		gone := time.Now()
		w.restartPostgres(t, hard)
		back := time.Now()
		w.probe(t)
		fmt.Printf("%s: Postgres was away for %.1f s, a new task was done %.1f s after it was back\n", t.Name(), back.Sub(gone).Seconds(), time.Since(back).Seconds())
		progress(t, l, atOnce)
		check()
	}
}

// upgrade: two replicas of every service of the commit before become this one, one by one, under load.
func upgrade(t *testing.T, w *world) {
	t.Helper()
	w.scale(t, 2)
	l, check := w.load(t)
	progress(t, l, 1)
	w.migrate(t)
	for _, s := range kernel.Names() {
		for n := range 2 {
			w.upgrade(t, s, n)
		}
	}
	progress(t, l, atOnce)
	check()
	w.check(t)
}
