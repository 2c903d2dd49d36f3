// Package runqueue decides who may make a step: a fixed number of slots, given to the ready process
// with the lowest priority number, and among equals to the one that has waited longest.
package runqueue

import (
	"container/heap"
	"sync"
)

// Key names a process.
type Key struct{ Tenant, PID string }

// Queue is the run queue of one replica. It is a cache of the processes' states: it can be thrown away
// and filled again. Safe for concurrent use.
type Queue struct {
	mu      sync.Mutex
	slots   int
	seq     uint64
	running map[Key]struct{}
	ready   readyHeap
	queued  map[Key]*item
	grant   func(Key)
}

type item struct {
	key      Key
	priority int
	seq      uint64
	index    int
}

// New makes a queue with a number of slots. grant is called, outside the lock, for every process that
// is given a slot it waited for.
func New(slots int, grant func(Key)) *Queue {
	return &Queue{slots: slots, running: map[Key]struct{}{}, queued: map[Key]*item{}, grant: grant}
}

// Keep reports whether a process that holds a slot, or finds a free one, may go on at once: nobody else
// waits. It then holds a slot.
func (q *Queue) Keep(k Key) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ready) > 0 {
		return false
	}
	if _, holds := q.running[k]; !holds {
		if len(q.running) >= q.slots {
			return false
		}
		q.running[k] = struct{}{}
	}
	return true
}

// Wait puts a ready process into the queue; a slot it holds is free for the best one.
func (q *Queue) Wait(k Key, priority int) {
	q.mu.Lock()
	delete(q.running, k)
	if it, ok := q.queued[k]; ok {
		if it.priority != priority {
			it.priority = priority
			heap.Fix(&q.ready, it.index)
		}
	} else {
		q.seq++
		it := &item{key: k, priority: priority, seq: q.seq}
		q.queued[k] = it
		heap.Push(&q.ready, it)
	}
	q.dispatch()
}

// Queued reports whether a process waits for a slot.
func (q *Queue) Queued(k Key) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, ok := q.queued[k]
	return ok
}

// Release gives back the slot of a process that does not run, and its place in the queue.
func (q *Queue) Release(k Key) {
	q.mu.Lock()
	delete(q.running, k)
	if it, ok := q.queued[k]; ok {
		heap.Remove(&q.ready, it.index)
		delete(q.queued, k)
	}
	q.dispatch()
}

// Hold notes that a process runs.
func (q *Queue) Hold(k Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running[k] = struct{}{}
}

// Running lists who holds a slot.
func (q *Queue) Running() []Key {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]Key, 0, len(q.running))
	for k := range q.running {
		out = append(out, k)
	}
	return out
}

// Len is the number of processes that run and that wait.
func (q *Queue) Len() (running, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.running), len(q.ready)
}

// dispatch gives free slots away and unlocks.
func (q *Queue) dispatch() {
	var given []Key
	for len(q.running) < q.slots && len(q.ready) > 0 {
		it, _ := heap.Pop(&q.ready).(*item)
		delete(q.queued, it.key)
		q.running[it.key] = struct{}{}
		given = append(given, it.key)
	}
	q.mu.Unlock()
	for _, k := range given {
		q.grant(k)
	}
}

type readyHeap []*item //nolint:recvcheck // container/heap wants it so

func (h readyHeap) Len() int { return len(h) }
func (h readyHeap) Less(i, j int) bool {
	if h[i].priority != h[j].priority {
		return h[i].priority < h[j].priority
	}
	return h[i].seq < h[j].seq
}

func (h readyHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *readyHeap) Push(x any) {
	it, _ := x.(*item)
	it.index = len(*h)
	*h = append(*h, it)
}

// Pop implements heap.Interface.
func (h *readyHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	*h = old[:len(old)-1]
	return it
}
