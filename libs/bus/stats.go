package bus

import "time"

// Stats is a snapshot of a consumer. Counts of shards begin anew with each generation.
type Stats struct {
	Generation    int32     // of the group; 0 before the first join
	Shards        []Shard   // the assigned ones, in order; empty between generations
	LastProgress  time.Time // when a batch was last handled or a generation began; zero without shards
	Gaps          uint64    // offsets out of range, see Config.OnGap
	Restarts      uint64    // fetch loops started anew by the watchdog
	Commits       uint64
	FailedCommits uint64
}

// Shard is what Stats says of one shard.
type Shard struct {
	ID           int
	Batches      uint64 // handled
	Messages     uint64 // handled
	Redeliveries uint64 // batches, or nacked messages, handed out again
	LastProgress time.Time
	Topics       []TopicPosition
}

// TopicPosition is how far one topic's partition of a shard is read.
type TopicPosition struct {
	Topic         string
	Position      int64 // offset of the next message to handle; negative until known
	Fetched       int64 // offset of the next message to fetch; negative until known
	Committed     int64 // offset last committed; negative if none
	HighWatermark int64 // offset after the last message at the broker; -1 until known
	Lag           int64 // messages not handled yet; 0 until known
}

func (e *engine) stats() Stats {
	e.mu.Lock()
	shards, generation := e.current, e.generation
	e.mu.Unlock()
	st := Stats{
		Generation: generation, Gaps: e.gaps.Load(), Restarts: e.restarts.Load(),
		Commits: e.commits.Load(), FailedCommits: e.failures.Load(),
	}
	for _, s := range shards {
		one := s.stats()
		st.Shards = append(st.Shards, one)
		if one.LastProgress.After(st.LastProgress) {
			st.LastProgress = one.LastProgress
		}
	}
	return st
}

func (s *shard) stats() Shard {
	one := Shard{
		ID: s.id, Batches: s.batches.Load(), Messages: s.messages.Load(),
		Redeliveries: s.redeliveries.Load(), LastProgress: time.Unix(0, s.progress.Load()),
	}
	for _, src := range s.sources {
		p := TopicPosition{
			Topic: src.topic, Position: src.done.Load(), Fetched: src.next.Load(),
			Committed: src.committed.Load(), HighWatermark: src.high.Load(),
		}
		if p.HighWatermark >= 0 && p.Position >= 0 {
			p.Lag = max(p.HighWatermark-p.Position, 0)
		}
		one.Topics = append(one.Topics, p)
	}
	return one
}
