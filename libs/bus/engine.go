package bus

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// engine reads assigned partitions and has their messages processed. Consumer, Subscriber and Tail
// differ only in what they do with a batch and in who assigns the partitions.
type engine struct {
	cfg   Config
	log   *slog.Logger
	link  *link
	group string

	// process works on a batch and reports how far it got by batch.advance; an error brings the
	// batch again.
	process func(work context.Context, s *shard, b *batch, again bool) error
	// assigned and revoked may be nil.
	assigned func(ctx context.Context, shards []int) error
	revoked  func(shards []int)
	// onResolved, if set, is called each time a partition's start position becomes known.
	onResolved func()

	trouble  trouble
	gaps     atomic.Uint64
	restarts atomic.Uint64
	commits  atomic.Uint64
	failures atomic.Uint64 // failed commits

	mu         sync.Mutex
	generation int32
	current    []*shard
	zombies    map[int]<-chan struct{} // by shard: closed when a Handle that was given up returns
}

func newEngine(cfg Config, l *link, group string) *engine {
	return &engine{
		cfg: cfg, log: cfg.Logger, link: l, group: group, zombies: map[int]<-chan struct{}{},
		trouble: trouble{patience: cfg.patience()},
	}
}

func (e *engine) resolved() {
	if e.onResolved != nil {
		e.onResolved()
	}
}

// start is where to read a topic partition from; a negative offset is kafka.FirstOffset or
// kafka.LastOffset.
type start struct {
	topic  string
	offset int64
}

// assignment is what one generation of a group gives to this member.
type assignment struct {
	generation int32
	shards     map[int][]start
	commit     func(map[string]map[int]int64) error // nil: nothing is committed
}

func (a assignment) ids() []int {
	ids := make([]int, 0, len(a.shards))
	for id := range a.shards {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// serve works on an assignment until ctx ends (a shutdown: running work gets GraceTime) or lost is
// closed (the shards go elsewhere: running work gets half of RebalanceTimeout). When it returns
// nothing is fetched, handled or committed any more, except for a Handle that ignores its context.
// parent is the parent of the contexts of Handle and of messages; it may outlive ctx.
func (e *engine) serve(ctx, parent context.Context, a assignment, lost <-chan struct{}) {
	live, cancel := context.WithCancel(ctx)
	defer cancel()
	work, giveUp := context.WithCancel(parent)
	defer giveUp()
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-lost:
			cancel()
		case <-finished:
		}
	}()

	ids := a.ids()
	e.setCurrent(a.generation, nil)
	if len(ids) == 0 || !e.prepare(live, ids) {
		<-live.Done()
		return
	}
	shards := e.makeShards(a, live.Done())
	e.setCurrent(a.generation, shards)
	fetching := e.startFetching(live, work, shards)
	for _, s := range shards {
		go s.run(work)
	}
	e.tend(live, a, shards)

	fetching.Wait()
	e.drain(shards, lost, giveUp)
	e.commit(a, shards)
	e.setCurrent(a.generation, nil)
	if e.revoked != nil {
		e.revoked(ids)
	}
}

// prepare waits for Handles given up in an earlier generation, so that no shard is ever handled
// twice at a time in this process, and then calls assigned until it succeeds.
func (e *engine) prepare(ctx context.Context, ids []int) bool {
	for _, id := range ids {
		e.mu.Lock()
		ended := e.zombies[id]
		delete(e.zombies, id)
		e.mu.Unlock()
		if ended == nil {
			continue
		}
		select {
		case <-ended:
		case <-ctx.Done():
			e.mu.Lock()
			e.zombies[id] = ended
			e.mu.Unlock()
			return false
		}
	}
	pause := backoff{first: 50 * time.Millisecond, last: 2 * time.Second}
	for e.assigned != nil && ctx.Err() == nil {
		err := e.assigned(ctx, ids)
		if err == nil {
			break
		}
		e.log.WarnContext(ctx, "handler refused the assignment, asking again", "group", e.group, "shards", ids, "error", err)
		pause.wait(ctx.Done())
	}
	return ctx.Err() == nil
}

func (e *engine) makeShards(a assignment, stop <-chan struct{}) []*shard {
	var shards []*shard
	for _, id := range a.ids() {
		s := &shard{
			eng: e, id: id, stop: stop,
			wake: make(chan struct{}, 1), ended: make(chan struct{}),
		}
		s.progress.Store(time.Now().UnixNano())
		for _, st := range a.shards[id] {
			s.sources = append(s.sources, newSource(e, st.topic, id, st.offset, s.wake))
		}
		shards = append(shards, s)
	}
	return shards
}

func (e *engine) setCurrent(generation int32, shards []*shard) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.generation, e.current = generation, shards
}

func (e *engine) startFetching(ctx, work context.Context, shards []*shard) *sync.WaitGroup {
	var wg sync.WaitGroup
	for _, s := range shards {
		for _, src := range s.sources {
			wg.Go(func() { src.run(ctx, work) })
		}
	}
	return &wg
}

// tend commits and watches over the fetch loops until ctx ends.
func (e *engine) tend(ctx context.Context, a assignment, shards []*shard) {
	tick := time.NewTicker(e.cfg.CommitInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			e.commit(a, shards)
			e.watch(ctx, now, shards)
		}
	}
}

func (e *engine) watch(ctx context.Context, now time.Time, shards []*shard) {
	for _, s := range shards {
		for _, src := range s.sources {
			if src.stalled(now) {
				e.restarts.Add(1)
				e.log.WarnContext(ctx, "fetch loop stalled, starting it anew", "topic", src.topic,
					"partition", src.partition, "offset", src.next.Load(), "high_watermark", src.high.Load())
				src.restart()
			}
		}
	}
}

// commit sends the positions that moved since the last commit.
func (e *engine) commit(a assignment, shards []*shard) {
	if a.commit == nil {
		return
	}
	offsets := map[string]map[int]int64{}
	var moved []func()
	for _, s := range shards {
		for _, src := range s.sources {
			done := src.done.Load()
			if done < 0 || done == src.committed.Load() {
				continue
			}
			if offsets[src.topic] == nil {
				offsets[src.topic] = map[int]int64{}
			}
			offsets[src.topic][src.partition] = done
			moved = append(moved, func() { src.committed.Store(done) })
		}
	}
	if len(moved) == 0 {
		return
	}
	if err := a.commit(offsets); err != nil {
		// The next commit tries again; if the generation is gone, its messages come once more.
		e.failures.Add(1)
		e.log.Debug("commit failed", "group", e.group, "generation", a.generation, "error", err)
		return
	}
	e.commits.Add(1)
	for _, f := range moved {
		f()
	}
}

// drain waits for the running Handles, then takes their context away, and at last leaves them.
func (e *engine) drain(shards []*shard, lost <-chan struct{}, giveUp func()) {
	if e.awaitShards(shards, lost, e.cfg.GraceTime, e.cfg.RebalanceTimeout/2) {
		return
	}
	giveUp()
	if e.awaitShards(shards, nil, time.Second, 0) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range shards {
		select {
		case <-s.ended:
		default:
			e.zombies[s.id] = s.ended
			e.log.Error("handler goes on after its context has ended", "group", e.group, "shard", s.id)
		}
	}
}

// awaitShards reports whether all shards ended within grace, cut to hurry once lost is closed.
func (e *engine) awaitShards(shards []*shard, lost <-chan struct{}, grace, hurry time.Duration) bool {
	end := time.NewTimer(grace)
	defer end.Stop()
	for _, s := range shards {
		for waiting := true; waiting; {
			select {
			case <-s.ended:
				waiting = false
			case <-lost:
				lost = nil
				end.Reset(min(grace, hurry))
			case <-end.C:
				return false
			}
		}
	}
	return true
}
