package bus

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// errStopped ends the work on a batch whose rest was not handed out.
var errStopped = errors.New("subscription ended")

// batch is what a shard's goroutine works on.
type batch struct {
	items []item
	done  int
}

// advance says that the first n messages are handled, so that their offsets may be committed.
func (b *batch) advance(n int) {
	for ; b.done < n; b.done++ {
		it := b.items[b.done]
		it.src.done.Store(it.offset + 1)
	}
}

// messages are the batch's messages, as fresh copies if they were handed out before: an Ack or
// Nack of the last time must not count.
func (b *batch) messages(again bool) []*message.Message {
	msgs := make([]*message.Message, len(b.items))
	for i, it := range b.items {
		msgs[i] = it.msg
		if again {
			msgs[i] = it.msg.CopyWithContext()
		}
	}
	return msgs
}

// shard is one partition of all topics, served by one goroutine.
type shard struct {
	eng     *engine
	id      int
	sources []*source
	stop    <-chan struct{} // closed when no new batch may begin
	wake    chan struct{}
	ended   chan struct{}

	batches      atomic.Uint64
	messages     atomic.Uint64
	redeliveries atomic.Uint64
	progress     atomic.Int64 // last handled batch, Unix nanoseconds
}

// run handles batches until stop. work ends when the time to finish is over.
func (s *shard) run(work context.Context) {
	defer close(s.ended)
	var items []item
	for turn := 0; ; turn++ {
		select {
		case <-s.stop:
			return
		default:
		}
		if items = s.collect(items[:0], turn); len(items) == 0 {
			select {
			case <-s.wake:
			case <-s.stop:
				return
			}
			continue
		}
		s.handle(work, &batch{items: items})
		clear(items)
	}
}

// collect takes up to a window of messages: first a fair share of each topic, then what is left,
// beginning with another topic each time.
func (s *shard) collect(items []item, turn int) []item {
	window, n := s.eng.cfg.Window, len(s.sources)
	share := max(window/n, 1)
	for i := range 2 * n {
		if i == n {
			share = window
		}
		items = s.sources[(turn+i)%n].take(items, min(share, window-len(items)))
	}
	return items
}

// handle hands out a batch until it is handled, its time is over or the generation ends between two
// tries.
func (s *shard) handle(work context.Context, b *batch) {
	pause := backoff{first: 50 * time.Millisecond, last: 2 * time.Second}
	for try := 0; ; try++ {
		before := b.done
		err := s.eng.process(work, s, b, try > 0)
		s.messages.Add(uint64(b.done - before)) //nolint:gosec // it only grows
		if err == nil {
			s.batches.Add(1)
			s.progress.Store(time.Now().UnixNano())
			return
		}
		if errors.Is(err, errStopped) {
			return
		}
		if work.Err() == nil {
			s.eng.log.WarnContext(work, "handler failed, the batch comes again", "group", s.eng.group,
				"shard", s.id, "messages", len(b.items), "try", try+1, "error", err)
		}
		if !pause.wait(s.stop, work.Done()) {
			return
		}
		s.redeliveries.Add(1)
	}
}
