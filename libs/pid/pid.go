// Package pid makes process ids: short, printable, and sorted by the time they were made.
package pid

import (
	"encoding/base32"

	"github.com/google/uuid"
)

// New is a UUIDv7 in Crockford's base32, lower case, behind the letter p: 27 characters whose order is
// the order of their making (to the millisecond, then random).
func New() string {
	id := uuid.Must(uuid.NewV7())
	return "p" + base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding).EncodeToString(id[:])
}
