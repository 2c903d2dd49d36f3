package events

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Upcaster turns the bytes of one version of a fact into those of the next. It is pure and must not
// change the bytes it is given: they are what was stored, sent and hashed.
type Upcaster func(data []byte) ([]byte, error)

// Older is a version of a kind that is still read but written no more: up makes the next version of it.
// Its type stays in the sources as the description of its bytes, with golden and schema, but is no longer
// one of its family's facts: no fold ever sees it.
func Older(t Type, up Upcaster) Type {
	t.Upcast = up
	return t
}

// Fields is an upcaster that changes the fields of a fact's object; the bytes of those it leaves alone
// stay as they are.
func Fields(change func(fields map[string]json.RawMessage) error) Upcaster {
	return func(data []byte) ([]byte, error) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(data, &fields); err != nil {
			return nil, fmt.Errorf("the fact is no object: %w", err)
		}
		if fields == nil {
			return nil, errors.New("the fact is null")
		}
		if err := change(fields); err != nil {
			return nil, err
		}
		return Encode(fields)
	}
}
