package kafkatest

import (
	"os"
	"testing"
)

// Require skips the test unless AGENTOS_TEST_KAFKA is set: it takes a JVM, and at first a download.
func Require(tb testing.TB) {
	tb.Helper()
	if os.Getenv("AGENTOS_TEST_KAFKA") == "" {
		tb.Skip("opt-in: `make kafka` runs it; it needs java and mvn and fetches 43 MB per version")
	}
}

// Start runs a broker until the end of the test. Config.Dir may be empty: then it lies in a folder of the
// test's.
func Start(tb testing.TB, cfg Config) *Broker {
	tb.Helper()
	Require(tb)
	if cfg.Dir == "" {
		cfg.Dir = tb.TempDir()
	}
	b, err := New(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		b.Kill()
		if tb.Failed() {
			tb.Logf("the broker's last words: %s", b.lastWords())
		}
	})
	b.MustStart(tb)
	return b
}

// MustStart is Broker.Start for tests.
func (b *Broker) MustStart(tb testing.TB) {
	tb.Helper()
	if err := b.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}
