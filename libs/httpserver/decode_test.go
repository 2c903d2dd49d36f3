package httpserver

import (
	"encoding/json"
	"testing"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// FuzzDecode: what is not Invalid is one JSON value without NUL, and encodes again.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"name":"a","n":1}`, `{"x":1}`, `{`, `{}{}`, `{"name":"\u0000"}`, "\xff", ``, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var v struct {
			Name string   `json:"name"`
			N    float64  `json:"n"`
			L    []string `json:"l"`
		}
		err := decodeJSON(raw, &v)
		switch {
		case err != nil && (!fault.Is(err, fault.Invalid) || fault.FixOf(err) == ""):
			t.Fatalf("error without kind or fix: %v", err)
		case err == nil && !json.Valid(raw):
			t.Fatal("took what is not JSON")
		case err == nil:
			for _, text := range append(v.L, v.Name) {
				for _, r := range text {
					if r == 0 {
						t.Fatal("took a NUL")
					}
				}
			}
		}
	})
}
