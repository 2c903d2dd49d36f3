// Package golden names the files that keep released event shapes.
package golden

import (
	"fmt"

	"github.com/agentos-kernel/agentos/events"
)

// FileName is the name of the nth golden of a type: the first is the shape as released, each later one
// has optional fields more.
func FileName(typ events.Type, n int) string {
	if n == 1 {
		return fmt.Sprintf("%s.v%d.json", typ.Kind, typ.Version)
	}
	return fmt.Sprintf("%s.v%d-%d.json", typ.Kind, typ.Version, n)
}
