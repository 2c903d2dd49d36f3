package core_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/chat"
	contextevents "github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/services/context/internal/core"
)

// space is an address space under test with all its events.
type space struct {
	state core.State
	log   []events.Event
}

func (s *space) do(evs []events.Event) []events.Event {
	for _, e := range evs {
		s.state = core.Evolve(s.state, e)
	}
	s.log = append(s.log, evs...)
	return evs
}

func (s *space) write(kind string, step, index int, text string, tokens int) []events.Event {
	role := map[string]string{
		contextevents.SourceSystem: chat.System, contextevents.SourceTask: chat.User, contextevents.SourceMessage: chat.User,
		contextevents.SourceReply: chat.Assistant, contextevents.SourceToolResult: chat.Tool,
	}[kind]
	return s.do(core.Write(s.state, contextevents.Source{Kind: kind, Step: step, Index: index}, chat.Text(role, text), tokens))
}

func (s *space) grant(step, window int) []events.Event {
	return s.do(core.Assemble(s.state, agent.StepGranted{Step: step, Epoch: step, ContextTokens: window, MaxOutputTokens: 10}, 0))
}

// texts is the window as it was told: the messages of the hashes, folded from the events alone.
func (s *space) window() (hashes []string, chain string) {
	for _, e := range s.log {
		if w, ok := e.(contextevents.WindowAssembled); ok {
			hashes = append(slices.Clone(hashes[:w.Keep]), w.Appended...)
			chain = w.Hash
		}
	}
	return hashes, chain
}

func TestToolResultsKeepTheOrderOfTheCalls(t *testing.T) {
	t.Parallel()
	var s space
	s.write(contextevents.SourceTask, 0, 0, "task", 1)
	s.grant(1, 0)
	s.write(contextevents.SourceToolResult, 1, 1, "second", 1) // heard before the reply that asked for it
	s.write(contextevents.SourceReply, 1, 0, "reply", 1)
	s.write(contextevents.SourceToolResult, 1, 0, "first", 1)
	s.write(contextevents.SourceMessage, 2, 0, "mail", 1)
	evs := s.grant(2, 0)
	w, ok := evs[0].(contextevents.WindowAssembled)
	if !ok || w.Keep != 1 {
		t.Fatalf("%+v, want a window that appends to the task", evs)
	}
	want := []string{
		chat.Text(chat.Assistant, "reply").Hash(), chat.Text(chat.Tool, "first").Hash(), chat.Text(chat.Tool, "second").Hash(),
		chat.Text(chat.User, "mail").Hash(),
	}
	if diff := cmp.Diff(want, w.Appended); diff != "" {
		t.Fatal(diff)
	}
}

func TestContentTravelsOncePerHash(t *testing.T) {
	t.Parallel()
	var s space
	first := s.write(contextevents.SourceToolResult, 1, 0, "same", 1)
	second := s.write(contextevents.SourceToolResult, 2, 0, "same", 1)
	a, okA := first[0].(contextevents.PageWritten)
	b, okB := second[0].(contextevents.PageWritten)
	if !okA || !okB || a.Message == nil || b.Message != nil || a.Hash != b.Hash {
		t.Fatalf("%+v and %+v: want the content in the first alone", a, b)
	}
	if again := s.write(contextevents.SourceToolResult, 2, 0, "same", 1); len(again) != 0 {
		t.Fatalf("a place was written twice: %v", again)
	}
}

func TestAGrantIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	var s space
	s.write(contextevents.SourceTask, 0, 0, "task", 1)
	s.grant(1, 0)
	if again := s.grant(1, 0); len(again) != 0 {
		t.Fatalf("the same grant made %v", again)
	}
}

func TestEvictionKeepsHeadAndWholeTurns(t *testing.T) {
	t.Parallel()
	var s space
	s.write(contextevents.SourceSystem, 0, 0, "system", 5)
	s.write(contextevents.SourceTask, 0, 0, "task", 5)
	for step := 1; step <= 12; step++ {
		evs := s.grant(step, 100)
		w, ok := evs[0].(contextevents.WindowAssembled)
		if !ok {
			t.Fatalf("step %d: %+v", step, evs)
		}
		if w.Tokens > 90 {
			t.Fatalf("step %d: window has %d tokens, limit is 90", step, w.Tokens)
		}
		hashes, _ := s.window()
		if hashes[0] != chat.Text(chat.System, "system").Hash() || hashes[1] != chat.Text(chat.User, "task").Hash() {
			t.Fatalf("step %d: the head was evicted", step)
		}
		if w.Evicted > 0 && len(hashes) > 2 && hashes[2] != chat.Text(chat.Assistant, fmt.Sprintf("reply %d", w.Evicted/2+1)).Hash() {
			t.Fatalf("step %d: the window does not begin with a whole turn", step)
		}
		s.write(contextevents.SourceReply, step, 0, fmt.Sprintf("reply %d", step), 6)
		s.write(contextevents.SourceToolResult, step, 0, fmt.Sprintf("result %d", step), 6)
	}
	if s.state.Evicted == 0 {
		t.Fatal("nothing was evicted")
	}
}

func TestATurnThatCannotFitIsRefused(t *testing.T) {
	t.Parallel()
	var s space
	s.write(contextevents.SourceTask, 0, 0, "task", 500)
	evs := s.grant(1, 100)
	if r, ok := evs[0].(contextevents.WindowRefused); !ok || !strings.Contains(r.Reason, "does not fit") {
		t.Fatalf("%+v, want a refusal", evs)
	}
}

// TestWindowsFoldToTheirHash: whatever order pages are heard in, the list told by Keep and Appended has
// the chain hash that the window names, and grows by appending while nothing is evicted.
func TestWindowsFoldToTheirHash(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s space
		s.write(contextevents.SourceTask, 0, 0, "task", 1)
		limit := rapid.SampledFrom([]int{0, 60}).Draw(t, "limit")
		for step := 1; step <= rapid.IntRange(1, 12).Draw(t, "steps"); step++ {
			evs := s.grant(step, limit)
			if w, ok := evs[0].(contextevents.WindowAssembled); ok {
				hashes, chain := s.window()
				want := ""
				for _, h := range hashes {
					want = chat.Extend(want, h)
				}
				if chain != want || w.Pages != len(hashes) {
					t.Fatalf("step %d: hash or length of the window is wrong", step)
				}
				if limit == 0 && w.Keep == 0 && step > 1 {
					t.Fatalf("step %d: the window did not grow by appending", step)
				}
			}
			kinds := rapid.Permutation([]int{0, 1, 2}).Draw(t, "order")
			for _, k := range kinds {
				if k == 0 {
					s.write(contextevents.SourceReply, step, 0, fmt.Sprintf("r%d", step), 5)
				} else {
					s.write(contextevents.SourceToolResult, step, k-1, fmt.Sprintf("t%d.%d", step, k), 5)
				}
			}
		}
	})
}
