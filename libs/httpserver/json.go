package httpserver

import (
	"encoding/json"
	"fmt"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// serializer writes JSON without HTML escapes, so that text of models and tools keeps its bytes, and
// reads it as strictly as Decode.
type serializer struct{}

// Serialize implements echo.JSONSerializer.
func (serializer) Serialize(c echo.Context, v any, indent string) error {
	enc := json.NewEncoder(c.Response())
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write %T as JSON: %w", v, err)
	}
	return nil
}

// Deserialize implements echo.JSONSerializer.
func (serializer) Deserialize(c echo.Context, v any) error { return Decode(c, v) }

// The sizes of a page of a list.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// PageLimit is how many items a page holds: the query's limit, DefaultPage when there is none. One
// outside 1..MaxPage is Invalid.
func PageLimit(limit *int) (int, error) {
	if limit == nil {
		return DefaultPage, nil
	}
	if *limit < 1 || *limit > MaxPage {
		return 0, fault.Newf(fault.Invalid, "httpserver.page", "limit %d is not between 1 and %d", *limit, MaxPage).
			WithFix("ask for less and follow next_cursor")
	}
	return *limit, nil
}
