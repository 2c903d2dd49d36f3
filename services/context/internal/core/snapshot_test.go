package core_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events"
	contextevents "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/service/foldtest"
	"github.com/agentos-kernel/agentos/services/context/internal/core"
)

func TestSnapshots(t *testing.T) {
	t.Parallel()
	fold := service.Fold[core.State]{Family: events.Context, Evolve: core.Evolve, Codec: core.Codec, Encode: core.Encode, Decode: core.Decode}
	foldtest.Run(t, fold, func(t *rapid.T) []events.Event {
		var s space
		s.write(contextevents.SourceTask, 0, 0, "task", 1)
		limit := rapid.SampledFrom([]int{0, 30, 60}).Draw(t, "limit")
		for step := 1; step <= rapid.IntRange(1, 12).Draw(t, "steps"); step++ {
			s.grant(step, limit)
			for _, k := range rapid.Permutation([]int{0, 1, 2}).Draw(t, "order") {
				text := rapid.SampledFrom([]string{"a", "b", "c <&>"}).Draw(t, "text") // the same content at many places
				if k == 0 {
					s.write(contextevents.SourceReply, step, 0, text, 5)
				} else {
					s.write(contextevents.SourceToolResult, step, k-1, text, 5)
				}
			}
		}
		return s.log
	})
}

// Whatever the bytes say, decoding them ends with a state or an error.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"pages":[{"h":"x","k":"task"}],"window":[0],"hash":"","step":1,"evicted":0}`))
	f.Add([]byte(`{"pages":[],"window":[1]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := core.Decode(b)
		if err != nil {
			return
		}
		if _, err := core.Encode(s); err != nil {
			t.Fatalf("a state that was decoded cannot be encoded: %v", err)
		}
	})
}
