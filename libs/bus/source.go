package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// item is a fetched message that waits to be handled.
type item struct {
	src    *source
	offset int64
	msg    *message.Message
}

// source reads one topic partition ahead into a bounded queue. One goroutine fetches, the shard's
// goroutine takes.
type source struct {
	eng       *engine
	topic     string
	partition int
	wake      chan<- struct{} // the shard's

	mu    sync.Mutex
	queue []item
	room  chan struct{} // told when the shard has taken

	next      atomic.Int64 // offset to fetch next; negative until resolved
	done      atomic.Int64 // offset to handle next
	committed atomic.Int64
	high      atomic.Int64 // high watermark; -1 until known
	moved     atomic.Int64 // last progress of next, Unix nanoseconds
	answered  atomic.Int64 // last answer of the broker, Unix nanoseconds
	full      atomic.Bool  // waits for room, so it cannot stall
	attempt   atomic.Pointer[context.CancelFunc]
}

func newSource(e *engine, topic string, partition int, start int64, wake chan<- struct{}) *source {
	s := &source{
		eng: e, topic: topic, partition: partition, wake: wake,
		room: make(chan struct{}, 1),
	}
	s.next.Store(start)
	s.done.Store(start)
	s.committed.Store(start)
	s.high.Store(-1)
	s.touch()
	return s
}

func (s *source) touch() {
	now := time.Now().UnixNano()
	s.moved.Store(now)
	s.answered.Store(now)
}

// run fetches until ctx ends. No error ends it. work is the parent of the messages' contexts.
func (s *source) run(ctx, work context.Context) {
	pause := backoff{first: 100 * time.Millisecond, last: time.Second}
	var failing time.Time // since when; zero while all is well
	for ctx.Err() == nil && s.awaitRoom(ctx) {
		err := s.step(ctx, work)
		if err == nil {
			pause.reset()
			failing = time.Time{}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		s.eng.log.Log(ctx, s.eng.trouble.level(failing), "fetch failed, retrying", "topic", s.topic, "partition", s.partition,
			"offset", s.next.Load(), "since", failing, "error", err)
		s.eng.link.refresh()
		pause.wait(ctx.Done())
	}
}

// step resolves the start position or makes one poll and queues its messages.
func (s *source) step(ctx, work context.Context) error {
	if at := s.next.Load(); at < 0 {
		start, err := s.lookUp(ctx, at)
		if err == nil {
			s.next.Store(start)
			s.done.Store(start)
			s.committed.Store(start)
			s.touch()
			s.eng.resolved()
		}
		return err
	}
	res, err := s.poll(ctx)
	if errors.Is(err, kafka.OffsetOutOfRange) {
		return s.reset(ctx)
	}
	if err != nil {
		return err
	}
	s.answered.Store(time.Now().UnixNano())
	s.high.Store(res.HighWatermark)
	return s.deliver(ctx, work, res.Records)
}

// poll asks for messages from next on. It ends at once with ctx, and in any case some time after
// the broker should have answered.
func (s *source) poll(ctx context.Context) (*kafka.FetchResponse, error) {
	cfg := &s.eng.cfg
	ctx, cancel := context.WithTimeout(ctx, cfg.MaxWait+cfg.RequestTimeout)
	defer cancel()
	s.attempt.Store(&cancel)
	res, err := s.eng.link.poll.Fetch(ctx, &kafka.FetchRequest{
		Topic: s.topic, Partition: s.partition, Offset: s.next.Load(),
		MinBytes: 1, MaxBytes: int64(cfg.FetchBytes), MaxWait: cfg.MaxWait,
	})
	if err == nil {
		err = res.Error
	}
	return res, err
}

// lookUp asks for the oldest (kafka.FirstOffset) or the newest (kafka.LastOffset) offset.
func (s *source) lookUp(ctx context.Context, which int64) (int64, error) {
	res, err := s.eng.link.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{s.topic: {{Partition: s.partition, Timestamp: which}}},
	})
	if err != nil {
		return 0, err
	}
	for _, p := range res.Topics[s.topic] {
		switch {
		case p.Partition != s.partition:
		case p.Error != nil:
			return 0, p.Error
		case which == kafka.LastOffset:
			return p.LastOffset, nil
		default:
			return p.FirstOffset, nil
		}
	}
	return 0, fmt.Errorf("list offsets: no answer for %s/%d", s.topic, s.partition)
}

// reset goes to the oldest message there is, after retention took what came next or the broker lost
// its tail. What lies between is for the caller to fill from its own store.
func (s *source) reset(ctx context.Context) error {
	from := s.next.Load()
	to, err := s.lookUp(ctx, kafka.FirstOffset)
	if err != nil {
		return err
	}
	if to == from {
		return kafka.OffsetOutOfRange // the broker is not of one mind yet; ask again
	}
	// If nothing waits to be handled the committed position moves too, or an empty partition would
	// report the same gap at each start.
	s.done.CompareAndSwap(from, to)
	s.next.Store(to)
	s.touch()
	s.eng.gaps.Add(1)
	s.eng.log.WarnContext(ctx, "offset out of range, reading from the oldest message",
		"topic", s.topic, "partition", s.partition, "from", from, "to", to)
	if s.eng.cfg.OnGap != nil {
		s.eng.cfg.OnGap(Gap{Topic: s.topic, Partition: s.partition, From: from, To: to})
	}
	return nil
}

// deliver queues the records of an answer. It decodes no further ahead than there is room, so a
// poll of many small messages costs FetchBytes and two windows of memory.
func (s *source) deliver(ctx, work context.Context, records kafka.RecordReader) error {
	d := delivery{source: s, pos: s.next.Load()}
	err := d.read(ctx, work, records, false)
	if ferr := d.flush(ctx); ferr != nil {
		return ferr
	}
	return err
}

// delivery is the reading of one answer. What is not flushed is fetched again.
type delivery struct {
	*source
	pos   int64 // offset after the last record read
	chunk []item
}

// read walks the batches of an answer. Control batches carry no messages but do take offsets.
func (d *delivery) read(ctx, work context.Context, records kafka.RecordReader, control bool) error {
	switch r := records.(type) {
	case *protocol.RecordStream:
		for _, sub := range r.Records {
			if err := d.read(ctx, work, sub, control); err != nil {
				return err
			}
		}
		return nil
	case *protocol.ControlBatch:
		control = true
	}
	seen := 0
	for ; ; seen++ {
		rec, err := records.ReadRecord()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := d.add(ctx, work, rec, control); err != nil {
			return err
		}
	}
	// A batch emptied by compaction has no record to take the next offset from.
	if b, ok := records.(*protocol.RecordBatch); ok && seen == 0 {
		d.pos = max(b.BaseOffset, d.pos) + 1
	}
	return nil
}

func (d *delivery) add(ctx, work context.Context, rec *kafka.Record, control bool) error {
	// The broker answers with whole batches, which may begin before the offset asked for.
	if control || rec.Offset < d.pos {
		closeBytes(rec.Key)
		closeBytes(rec.Value)
		d.pos = max(d.pos, rec.Offset+1)
		return nil
	}
	at := &origin{Context: work, topic: d.topic, partition: d.partition, offset: rec.Offset}
	m, err := decode(rec, at) //nolint:contextcheck // at is one
	if err != nil {
		return err
	}
	if d.chunk == nil {
		d.chunk = make([]item, 0, d.eng.cfg.Window)
	}
	d.chunk = append(d.chunk, item{src: d.source, offset: rec.Offset, msg: m})
	d.pos = rec.Offset + 1
	if len(d.chunk) == cap(d.chunk) {
		return d.flush(ctx)
	}
	return nil
}

func closeBytes(b kafka.Bytes) {
	if b != nil {
		_ = b.Close() // gives pages back to a pool; nothing can fail
	}
}

// flush queues the chunk, waiting for room, and moves the fetch position past it.
func (d *delivery) flush(ctx context.Context) error {
	for !d.push(d.chunk) {
		if !d.awaitTake(ctx) {
			return ctx.Err()
		}
	}
	d.chunk = d.chunk[:0]
	if d.pos != d.next.Load() {
		d.next.Store(d.pos)
		d.moved.Store(time.Now().UnixNano())
	}
	return nil
}

// push queues the chunk if there is room for all of it.
func (s *source) push(chunk []item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue)+len(chunk) > 2*s.eng.cfg.Window {
		return false
	}
	if len(chunk) > 0 {
		s.queue = append(s.queue, chunk...)
		signal(s.wake)
	}
	return true
}

// awaitRoom waits until a poll makes sense: less than a window is queued.
func (s *source) awaitRoom(ctx context.Context) bool {
	for {
		s.mu.Lock()
		n := len(s.queue)
		s.mu.Unlock()
		if n < s.eng.cfg.Window {
			return true
		}
		if !s.awaitTake(ctx) {
			return false
		}
	}
}

func (s *source) awaitTake(ctx context.Context) bool {
	s.full.Store(true)
	defer func() { s.full.Store(false); s.touch() }()
	select {
	case <-s.room:
		return true
	case <-ctx.Done():
		return false
	}
}

// take moves up to n messages to the end of a batch.
func (s *source) take(batch []item, n int) []item {
	s.mu.Lock()
	n = min(n, len(s.queue))
	batch = append(batch, s.queue[:n]...)
	clear(s.queue[:n])
	s.queue = s.queue[n:]
	if len(s.queue) == 0 {
		s.queue = nil
	}
	s.mu.Unlock()
	if n > 0 {
		signal(s.room)
	}
	return batch
}

// stalled reports a fetch loop that has lag and does not move, or hears nothing at all.
func (s *source) stalled(now time.Time) bool {
	if s.full.Load() {
		return false
	}
	limit := s.eng.cfg.StallTimeout.Nanoseconds()
	lag := s.high.Load() > s.next.Load()
	return now.UnixNano()-s.answered.Load() > limit || lag && now.UnixNano()-s.moved.Load() > limit
}

// restart ends the running attempt; the loop goes on from the same offset with new connections.
func (s *source) restart() {
	s.touch()
	s.eng.link.refresh()
	if cancel := s.attempt.Load(); cancel != nil {
		(*cancel)()
	}
}

// signal sets a flag in a channel of capacity one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
