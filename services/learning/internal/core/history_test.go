package core_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/libs/service/foldtest"
	"github.com/agentos-kernel/agentos/services/learning/internal/core"
)

// The trajectories of the recorded runs, from all streams of each in the order of positions.
func TestHistories(t *testing.T) {
	t.Parallel()
	reg, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	for run, recs := range foldtest.Histories(t) {
		t.Run(run, func(t *testing.T) {
			t.Parallel()
			facts := map[string][]fact{}
			for _, r := range recs {
				if !core.Relevant(r.Kind) {
					continue
				}
				e, err := reg.Decode(r)
				if err != nil {
					t.Fatal(err)
				}
				facts[r.Subject()] = append(facts[r.Subject()], fact{r, e})
			}
			var trajectories []json.RawMessage
			for _, pid := range slices.Sorted(maps.Keys(facts)) {
				head, whole := fold(t, facts[pid])
				if pid != "registry" && !head.Whole() {
					t.Errorf("%s has not ended", pid)
				}
				trajectories = append(trajectories, json.RawMessage(whole))
			}
			foldtest.Golden(t, run, trajectories)
		})
	}
}
