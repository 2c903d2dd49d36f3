package service

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// snapshot is a state of a stream as it is stored.
type snapshot struct {
	tenant, stream string
	version        int64
	codec          int
	state          []byte
}

const (
	snapshotEvery  = 50  // events between two snapshots of a stream
	snapshotsQueue = 256 // waiting to be written; what does not fit is taken again after the next commit
	snapshotsBatch = 32  // of one transaction
	snapshotLimit  = 10 * time.Second
)

// spacing is how many events must follow a snapshot of some bytes before the next one: a state that grows
// with its stream is written less and less often, so that snapshots cost about a KB for each event at most.
func spacing(every, size int) int64 { return int64(every + size>>10) }

// snapshots writes what the shards offer, beside them: no batch waits for it, and what is lost of it costs
// a longer fold.
type snapshots struct {
	rt    *Runtime
	queue chan snapshot
}

func newSnapshots(rt *Runtime) *snapshots {
	return &snapshots{rt: rt, queue: make(chan snapshot, snapshotsQueue)}
}

// offer takes a snapshot to be written, unless too many wait already.
func (w *snapshots) offer(s snapshot) bool {
	select {
	case w.queue <- s:
		return true
	default:
		return false
	}
}

// run writes until ctx ends.
func (w *snapshots) run(ctx context.Context) error {
	for {
		var batch []snapshot
		select {
		case <-ctx.Done():
			return nil
		case s := <-w.queue:
			batch = append(batch, s)
		}
		for len(batch) < snapshotsBatch && len(w.queue) > 0 {
			batch = append(batch, <-w.queue)
		}
		if err := w.write(ctx, batch); err != nil && ctx.Err() == nil {
			w.rt.log.WarnContext(ctx, "snapshots not written", "count", len(batch), "error", err)
		}
	}
}

// The last one holds, whatever was there: any snapshot that can be read is a right one.
const snapshotSQL = `INSERT INTO snapshots (tenant, stream, version, codec, state) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (tenant, stream) DO UPDATE SET version = excluded.version, codec = excluded.codec, state = excluded.state`

// write stores some snapshots in one transaction that does not wait for the disk. Two of one stream keep
// their order.
func (w *snapshots) write(ctx context.Context, batch []snapshot) error {
	ctx, cancel := context.WithTimeout(ctx, snapshotLimit)
	defer cancel()
	p := &pgx.Batch{}
	p.Queue("SELECT set_config('synchronous_commit', 'off', true)")
	for _, s := range batch {
		p.Queue(snapshotSQL, s.tenant, s.stream, s.version, s.codec, s.state)
	}
	if err := w.rt.deps.DB.SendBatch(ctx, p).Close(); err != nil {
		return err
	}
	w.rt.metrics.snapshots.WithLabelValues(snapshotWritten).Add(float64(len(batch)))
	return nil
}

// snapshot offers the state of a stream when enough has been appended since the last one. The batch that
// changed it has been committed and answered; a stream that a later batch has touched is left to that one.
func (s *Streams[S]) snapshot(rt *Runtime, st *Stream[S]) {
	if s.fold.Codec == 0 || st.unit != nil || st.Version-st.saved < spacing(s.fold.Every, st.size) {
		return
	}
	state, err := s.fold.Bytes(st.State)
	if err != nil {
		rt.log.Error("a snapshot could not be encoded", "stream", st.key.stream, "error", err)
		st.saved = st.Version // not again at once
		return
	}
	if rt.snapshots.offer(snapshot{st.key.tenant, st.key.stream, st.Version, s.fold.Codec, state}) {
		st.saved, st.size = st.Version, len(state)
	}
}
