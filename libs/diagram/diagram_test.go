package diagram

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/events"
)

type fact string

func (f fact) Kind() string     { return "door." + string(f) }
func (fact) SchemaVersion() int { return 1 }

// A door is opened, closed again, or broken for good; the bell beside it is none of the drawing's business.
func TestWalkAndWrite(t *testing.T) {
	t.Parallel()
	when := func(state string, e ...events.Event) func(string) []events.Event {
		return func(s string) []events.Event {
			if s == state {
				return e
			}
			return nil
		}
	}
	door := Machine[string]{
		Moves: []func(string) []events.Event{
			when("", fact("rung"), fact("opened")), when("opened", fact("closed")), when("closed", fact("opened")), when("opened", fact("broken")),
		},
		Evolve: func(s string, e events.Event) string {
			if e == fact("rung") {
				return s
			}
			return e.Kind()[len("door."):]
		},
		Phase: func(s string, e events.Event) string {
			if e == fact("rung") {
				return ""
			}
			return s
		},
	}
	file := filepath.Join(t.TempDir(), "STATES.md")
	if err := Write(file, "A door", "Walked.", door.Walk(4)); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := "# A door\n\nWalked.\n\n```mermaid\nstateDiagram-v2\n" +
		"    [*] --> opened: door.opened\n    broken --> [*]\n    closed --> opened: door.opened\n" +
		"    opened --> broken: door.broken\n    opened --> closed: door.closed\n```\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := door.Walk(1); len(got) != 1 {
		t.Errorf("one move goes %d ways, want 1", len(got))
	}
}
