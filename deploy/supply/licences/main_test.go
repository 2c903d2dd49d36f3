package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ bill, want string }{
		"declared":   {`{"components":[{"name":"a","version":"v1","licenses":[{"license":{"id":"MIT"}}]}]}`, ""},
		"found":      {`{"components":[{"name":"a","version":"v1","evidence":{"licenses":[{"license":{"id":"ISC"}}]}}]}`, ""},
		"one of two": {`{"components":[{"name":"a","licenses":[{"license":{"id":"GPL-3.0-only"}},{"license":{"id":"MIT"}}]}]}`, ""},
		"forbidden":  {`{"components":[{"name":"a","version":"v1","licenses":[{"license":{"id":"AGPL-3.0-only"}}]}]}`, "a v1 (AGPL-3.0-only)"},
		"by name":    {`{"components":[{"name":"a","version":"v1","licenses":[{"license":{"name":"Ours"}}]}]}`, "a v1 (Ours)"},
		"unknown":    {`{"components":[{"name":"a","version":"v1"}]}`, "a v1 (none known)"},
		"empty":      {`{}`, "lists nothing"},
		"no JSON":    {`x`, "no bill of materials"},
	} {
		var out bytes.Buffer
		err := report(&out, []byte(tc.bill))
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
