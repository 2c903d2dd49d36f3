package window

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Store is where a space is folded from when it is not in memory.
type Store interface {
	ReadStream(ctx context.Context, tenant, stream string, fromVersion int64) ([]events.Record, error)
	Decode(rec events.Record) (events.Event, error)
}

// Cache keeps the spaces used last. It is safe for concurrent use; one process is only ever handled by
// one goroutine at a time.
type Cache struct {
	store    Store
	maxBytes int

	mu     sync.Mutex
	spaces map[key]*list.Element
	order  *list.List // of *entry, the one used last in front
	bytes  int
}

type key struct{ tenant, pid string }

type entry struct {
	key    key
	space  *Space
	bytes  int  // counted in Cache.bytes
	ended  bool // the process has ended
	looked bool // whether it has ended before we looked was asked for
}

// entryBytes is roughly what an entry costs beside its pages.
const entryBytes = 512

// New makes a cache of about maxBytes.
func New(store Store, maxBytes int) *Cache {
	return &Cache{store: store, maxBytes: maxBytes, spaces: map[key]*list.Element{}, order: list.New()}
}

// Observe folds the event of a record into the space, if it is in memory and the event is its next one.
func (c *Cache) Observe(rec events.Record, e events.Event) {
	tenant, pid, version := rec.Tenant, rec.Subject(), rec.StreamVersion
	c.mu.Lock()
	defer c.mu.Unlock()
	en, ok := c.get(key{tenant, pid})
	if !ok {
		if version != 1 {
			return // folded from the store when a window asks for it
		}
		en = c.put(&entry{key: key{tenant, pid}, space: &Space{}})
	}
	if version == en.space.Version+1 && !en.ended {
		en.space.Apply(version, rec.Time, e)
		c.weigh(en)
	}
}

// At is the space as it was at a version of its stream.
func (c *Cache) At(ctx context.Context, tenant, pid string, version int64) (*Space, error) {
	c.mu.Lock()
	en, ok := c.get(key{tenant, pid})
	c.mu.Unlock()
	if ok && en.space.Version == version {
		return en.space, nil
	}
	return c.Rebuild(ctx, tenant, pid, version)
}

// Rebuild folds the space from the event store up to a version and puts it into the cache.
func (c *Cache) Rebuild(ctx context.Context, tenant, pid string, version int64) (*Space, error) {
	space, err := c.fold(ctx, tenant, pid, func(s *Space) bool { return s.Version < version })
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	en, ok := c.get(key{tenant, pid})
	if !ok {
		en = c.put(&entry{key: key{tenant, pid}})
	}
	en.space = space
	c.weigh(en)
	return space, nil
}

// Step folds the space up to the window of a step and epoch, past the cache; a call that was lost in a
// crash is repeated with it. It is NotFound when there was no such window.
func (c *Cache) Step(ctx context.Context, tenant, pid string, step, epoch int) (*Space, error) {
	found := func(s *Space) bool { return s.Opened > 0 && s.Window.Step == step && s.Window.Epoch == epoch }
	space, err := c.fold(ctx, tenant, pid, func(s *Space) bool { return !found(s) })
	if err != nil {
		return nil, err
	}
	if !found(space) {
		return nil, fault.Newf(fault.NotFound, "window.step", "the event store has no window of step %d", step)
	}
	return space, nil
}

func (c *Cache) fold(ctx context.Context, tenant, pid string, more func(*Space) bool) (*Space, error) {
	records, err := c.store.ReadStream(ctx, tenant, events.Context.Stream(pid), 1)
	if err != nil {
		return nil, fmt.Errorf("read the address space: %w", err)
	}
	space := &Space{}
	for _, r := range records {
		if !more(space) {
			break
		}
		e, err := c.store.Decode(r)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, "window.fold", "cannot read an event of the address space", err)
		}
		space.Apply(r.StreamVersion, r.Time, e)
	}
	return space, nil
}

// Ended reports whether the process is known to have ended; look is asked once per entry.
func (c *Cache) Ended(tenant, pid string, look func() (bool, error)) (bool, error) {
	c.mu.Lock()
	en, ok := c.get(key{tenant, pid})
	if !ok {
		en = c.put(&entry{key: key{tenant, pid}, space: &Space{}})
	}
	ended, looked := en.ended, en.looked
	c.mu.Unlock()
	if ended || looked {
		return ended, nil
	}
	ended, err := look()
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	en.ended, en.looked = en.ended || ended, true
	return en.ended, nil
}

// End notes that the process has ended: it needs no more messages.
func (c *Cache) End(tenant, pid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	en, ok := c.get(key{tenant, pid})
	if !ok {
		en = c.put(&entry{key: key{tenant, pid}})
	}
	en.ended, en.space = true, &Space{}
	c.weigh(en)
}

// Clear forgets everything, as when shards have moved.
func (c *Cache) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.spaces)
	c.order.Init()
	c.bytes = 0
}

func (c *Cache) get(k key) (*entry, bool) {
	el, ok := c.spaces[k]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(el)
	en, ok := el.Value.(*entry)
	return en, ok
}

func (c *Cache) put(en *entry) *entry {
	c.spaces[en.key] = c.order.PushFront(en)
	if en.space == nil {
		en.space = &Space{}
	}
	c.weigh(en)
	return en
}

// weigh counts an entry again and forgets what was used longest ago when all are too much.
func (c *Cache) weigh(en *entry) {
	if _, here := c.spaces[en.key]; !here {
		return
	}
	now := entryBytes + en.space.bytes
	c.bytes += now - en.bytes
	en.bytes = now
	for c.bytes > c.maxBytes && c.order.Len() > 1 {
		last, ok := c.order.Remove(c.order.Back()).(*entry)
		if !ok {
			return
		}
		delete(c.spaces, last.key)
		c.bytes -= last.bytes
	}
}
