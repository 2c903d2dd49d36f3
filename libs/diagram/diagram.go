// Package diagram draws the life cycles that deciders make: Mermaid state diagrams found by walking the
// deciders themselves, so that a drawing cannot say what the code does not do.
package diagram

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/agentos-kernel/agentos/events"
)

// Start is the phase of what has not begun.
const Start = "[*]"

// Edge is a way from one phase to another; Label may be empty.
type Edge struct{ From, To, Label string }

// Machine is a decider as a drawing sees it: one thing with a life, such as a call, in the state S.
type Machine[S any] struct {
	// Moves are the commands that may come, each decided on a state.
	Moves []func(S) []events.Event
	// Evolve folds what was decided.
	Evolve func(S, events.Event) S
	// Phase is the thing's phase after an event, "" when the event is about something else.
	Phase func(S, events.Event) string
}

// Walk makes up to depth moves from the zero state in every order, and returns each way an event took.
func (m Machine[S]) Walk(depth int) []Edge {
	found := map[Edge]bool{}
	var zero S
	m.walk(zero, Start, depth, found)
	edges := make([]Edge, 0, len(found))
	for e := range found {
		edges = append(edges, e)
	}
	return edges
}

func (m Machine[S]) walk(s S, phase string, depth int, found map[Edge]bool) {
	if depth == 0 {
		return
	}
	for _, move := range m.Moves {
		after, now := s, phase
		decided := move(s)
		for _, e := range decided {
			after = m.Evolve(after, e)
			if next := m.Phase(after, e); next != "" {
				found[Edge{now, next, e.Kind()}] = true
				now = next
			}
		}
		if len(decided) > 0 {
			m.walk(after, now, depth-1, found)
		}
	}
}

// Write draws the edges into a Markdown file under a title; text says where they come from. A phase that
// leads nowhere is drawn as an end.
func Write(file, title, text string, edges []Edge) error {
	return os.WriteFile(file, []byte(markdown(title, text, edges)), 0o644) //nolint:gosec // documentation
}

func markdown(title, text string, edges []Edge) string {
	from := map[string]bool{}
	for _, e := range edges {
		from[e.From] = true
	}
	var lines []string
	for _, e := range edges {
		line := fmt.Sprintf("    %s --> %s", e.From, e.To)
		if e.Label != "" {
			line += ": " + e.Label
		}
		lines = append(lines, line)
		if !from[e.To] {
			lines = append(lines, fmt.Sprintf("    %s --> %s", e.To, Start))
		}
	}
	slices.Sort(lines)
	return fmt.Sprintf("# %s\n\n%s\n\n```mermaid\nstateDiagram-v2\n%s\n```\n", title, text, strings.Join(slices.Compact(lines), "\n"))
}
