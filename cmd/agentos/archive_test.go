package main

import (
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
)

func TestAges(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]time.Duration{
		"30d": 720 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute, "0d": 0, "0": 0,
	} {
		if got, err := parseAge(s); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "d", "x", "-1d", "-1h", "5", "1.5d", "106752d", "99999999999999999999d"} {
		if got, err := parseAge(s); !fault.Is(err, fault.Invalid) || fault.FixOf(err) == "" {
			t.Errorf("%q is %s, %v, want a refusal with a fix", s, got, err)
		}
	}
}
