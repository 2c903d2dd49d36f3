package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentos-kernel/agentos/libs/fault"
)

func TestDatabaseURL(t *testing.T) { //nolint:paralleltest // sets environment variables
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("se/sa@me\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ url, file, want, wrong string }{
		{"", file, "", ""},
		{"postgres://ada@db/kernel", "", "postgres://ada@db/kernel", ""},
		{"postgres://ada@db:5433/kernel?sslmode=disable", file, "postgres://ada:se%2Fsa%40me@db:5433/kernel?sslmode=disable", ""},
		{"postgres://ada:own@db/kernel", file, "postgres://ada:own@db/kernel", ""},
		{"postgres://ada@db/kernel", file + "-not", "", envDatabasePassword},
		{"db", file, "", envDatabase},
	} {
		t.Setenv(envDatabase, c.url)
		t.Setenv(envDatabasePassword, c.file)
		got, err := databaseURL()
		if got != c.want {
			t.Errorf("%q with %q: %q, want %q", c.url, c.file, got, c.want)
		}
		if c.wrong == "" {
			if err != nil {
				t.Errorf("%q with %q: %v", c.url, c.file, err)
			}
		} else if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.wrong) || fault.FixOf(err) == "" {
			t.Errorf("%q with %q: %v", c.url, c.file, err)
		}
	}
}
