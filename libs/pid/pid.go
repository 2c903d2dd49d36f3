// Package pid makes process ids: short, printable, and sorted by the time they were made.
package pid

import (
	"encoding/base32"
	"strings"

	"github.com/google/uuid"
)

const digits = "0123456789abcdefghjkmnpqrstvwxyz"

// New is a UUIDv7 in Crockford's base32, lower case, behind the letter p: 27 characters whose order is
// the order of their making (to the millisecond, then random).
func New() string {
	id := uuid.Must(uuid.NewV7())
	return "p" + base32.NewEncoding(digits).WithPadding(base32.NoPadding).EncodeToString(id[:])
}

// Valid reports whether s has the form of a process id.
func Valid(s string) bool {
	return len(s) == 27 && s[0] == 'p' && strings.Trim(s[1:], digits) == ""
}
