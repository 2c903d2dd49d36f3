package learning_test

import (
	"fmt"
	"testing"

	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/services/learning"
)

// BenchmarkReplay reads the event store through the fold.
func BenchmarkReplay(b *testing.B) {
	w := newWorld(b)
	for i := range 10 {
		w.run(b, fmt.Sprintf("p%d", i), "alpha", agent.Completed{Result: "42"})
	}
	// Many more processes with the same events.
	if _, err := w.admin.Exec(b.Context(), `INSERT INTO eventstore.events
		(tenant, stream, version, event_id, kind, schema_version, time, correlation, causation, traceparent, data)
		SELECT tenant, stream || '-' || n, version, gen_random_uuid(), kind, schema_version, time, correlation, causation, traceparent, data
		FROM eventstore.events, generate_series(1, 1000) AS n ORDER BY n, pos; ANALYZE eventstore.events`); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	var read int64
	for range b.N {
		got, err := learning.Replay(b.Context(), w.pool, w.reg, learning.ReplayOptions{})
		if err != nil {
			b.Fatal(err)
		}
		read += got.Events
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "events/s")
}
