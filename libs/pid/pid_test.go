package pid_test

import (
	"strings"
	"testing"

	"github.com/agentos-kernel/agentos/libs/pid"
)

func TestNewIsValidAndSorted(t *testing.T) {
	t.Parallel()
	last := ""
	for range 3 {
		id := pid.New()
		if !pid.Valid(id) {
			t.Errorf("%q is not valid", id)
		}
		if last != "" && id[:8] < last[:8] {
			t.Errorf("%q sorts before %q", id, last)
		}
		last = id
	}
}

func TestValidRefuses(t *testing.T) {
	t.Parallel()
	good := pid.New()
	for _, bad := range []string{"", "foo", good[1:], good + "0", "q" + good[1:], strings.ToUpper(good), good[:26] + "u", good[:26] + "/"} {
		if pid.Valid(bad) {
			t.Errorf("%q passes for a pid", bad)
		}
	}
}
