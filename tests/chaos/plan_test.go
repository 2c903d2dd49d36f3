package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/tests/kernel"
)

// The faults there are.
const (
	faultKill  = "kill"  // SIGKILL, and started again at once
	faultHang  = "hang"  // SIGSTOP past the session timeout, then SIGCONT
	faultStorm = "storm" // replicas of a service join and leave

	faultCut  = "cut"  // the connections end, and new ones are refused
	faultSlow = "slow" // everything takes a while longer
	faultMute = "mute" // connections stay open and carry nothing

	faultFull = "full" // the disk has no room, then it is enlarged
)

// The victims that are no service.
const (
	victimInfra    = "infra" // broker and guard of the database in one process
	victimPostgres = "postgres"
	victimKafka    = "kafka"
	victimBroker   = "broker" // its disk
)

// fault is one thing that is done to the kernel.
type fault struct {
	What    string
	Victim  string
	Replica int
	Pause   time.Duration // before it, since the recovery from the one before
	Hold    time.Duration // how long it lasts; 0 for a kill
	// Beside is done while this one holds.
	Beside *fault
}

func (f fault) String() string {
	s := f.What + " " + f.Victim
	if f.Replica > 0 {
		s = fmt.Sprintf("%s %s-%d", f.What, f.Victim, f.Replica+1)
	}
	if f.Hold > 0 {
		s += fmt.Sprintf(" for %.1f s", f.Hold.Seconds())
	}
	if f.Beside != nil {
		s += " beside " + f.Beside.String()
	}
	return s
}

// kind is a mixture of faults.
type kind struct {
	name  string
	parts []string // faults it draws from: a fault and a victim; "service" is any of the six
	// together is how often, in percent, a second fault happens while the first one holds.
	together int
	// network puts a proxy between the services and their broker and database.
	network bool
	// disks puts the data of broker and database on small disks of their own.
	disks bool
}

func kinds() []kind {
	return []kind{
		{name: "kill-service", parts: []string{"kill service"}},
		{name: "kill-broker", parts: []string{"kill infra"}},
		{name: "kill-postgres", parts: []string{"kill postgres"}},
		{name: "hang", parts: []string{"hang service", "hang service", "hang infra"}},
		{name: "storm", parts: []string{"storm service"}},
		// A frozen owner, its group in motion, and a storm of another service beside it.
		{name: "hang-storm", parts: []string{"hang service", "storm service"}, together: 70},
		{name: "network", parts: []string{
			"cut kafka", "cut postgres", "slow kafka", "slow postgres", "mute kafka", "mute postgres", "kill service",
		}, together: 30, network: true},
		{name: "disk", parts: []string{"full broker", "full postgres", "kill service"}, disks: true},
		{name: "mixed", parts: []string{
			"kill service", "kill service", "kill service", "kill infra", "kill postgres", "hang service", "hang infra", "storm service",
		}, together: 30},
	}
}

// plan is an endless sequence of faults that the seed alone decides. Kinds of faults and victims come from
// shuffled decks, so that a short run has met them all.
type plan struct {
	rnd      *rand.Rand
	kind     kind
	replicas int
	parts    []string
	services []string
}

func newPlan(seed uint64, k kind, replicas int) *plan {
	return &plan{rnd: rand.New(rand.NewPCG(seed, 1)), kind: k, replicas: replicas} //nolint:gosec // repeatable, not secret
}

func (p *plan) next() fault {
	f := p.draw()
	if p.rnd.IntN(100) < p.kind.together && f.Hold > 0 {
		second := p.draw()
		if second.Victim != f.Victim {
			second.Hold = min(second.Hold, f.Hold/2)
			f.Beside = &second
		}
	}
	return f
}

func (p *plan) draw() fault {
	f := fault{Pause: 500*time.Millisecond + p.upTo(2500*time.Millisecond)}
	_, _ = fmt.Sscan(p.card(&p.parts, p.kind.parts), &f.What, &f.Victim) // both are there
	if f.Victim == "service" {
		f.Victim, f.Replica = p.card(&p.services, kernel.Names()), p.rnd.IntN(p.replicas)
	}
	if f.What != faultKill {
		f.Hold = 2500*time.Millisecond + p.upTo(2500*time.Millisecond) // sessions of the embedded broker end after 2 s
	}
	return f
}

func (p *plan) upTo(most time.Duration) time.Duration {
	return time.Duration(p.rnd.Int64N(most.Milliseconds())) * time.Millisecond
}

// card draws from a deck, which is shuffled anew when it is empty.
func (p *plan) card(deck *[]string, all []string) string {
	if len(*deck) == 0 {
		*deck = slices.Clone(all)
		p.rnd.Shuffle(len(*deck), func(i, j int) { (*deck)[i], (*deck)[j] = (*deck)[j], (*deck)[i] })
	}
	c := (*deck)[0]
	*deck = (*deck)[1:]
	return c
}

// TestTheSeedDecides: one seed is one plan, another one is another.
func TestTheSeedDecides(t *testing.T) {
	t.Parallel()
	draw := func(seed uint64) (all []string) {
		for _, k := range kinds() {
			p := newPlan(seed, k, 2)
			for range 50 {
				all = append(all, p.next().String())
			}
		}
		return all
	}
	if !slices.Equal(draw(22), draw(22)) {
		t.Error("the same seed gave two plans")
	}
	if slices.Equal(draw(22), draw(23)) {
		t.Error("two seeds gave the same plan")
	}
}
