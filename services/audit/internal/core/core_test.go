package core_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/audit"
	"github.com/agentos-kernel/agentos/services/audit/internal/core"
)

func record() *rapid.Generator[events.Record] {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", ":", "\n", "1:\n", "default", "llm/p1"}))
	return rapid.Custom(func(t *rapid.T) events.Record {
		return events.Record{
			Position: rapid.Int64().Draw(t, "position"), ID: text.Draw(t, "id"), Tenant: text.Draw(t, "tenant"),
			Stream: text.Draw(t, "stream"), StreamVersion: rapid.Int64().Draw(t, "version"), Kind: text.Draw(t, "kind"),
			SchemaVersion: rapid.Int().Draw(t, "schema"),
			Time:          time.UnixMicro(rapid.Int64Range(0, math.MaxInt32*1_000_000).Draw(t, "time")).UTC(),
			Correlation:   text.Draw(t, "correlation"), Causation: text.Draw(t, "causation"),
			TraceParent: text.Draw(t, "traceparent"), Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
		}
	})
}

// A leaf is read back as the record it was made of, so two records never share one.
func TestLeafRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := record().Draw(t, "record")
		got, err := core.ParseLeaf(core.Leaf(&want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		if names := core.Differing(&want, &got); len(names) != 0 {
			t.Fatalf("differs in %v", names)
		}
	})
}

// The format is fixed for ever: proofs handed out rest on it.
func TestLeafFormat(t *testing.T) {
	t.Parallel()
	r := events.Record{
		Position: 12, ID: "0190-id", Tenant: "default", Stream: "llm/p1", StreamVersion: 3, Kind: "llm.call_failed",
		SchemaVersion: 1, Time: time.Date(2026, 3, 4, 10, 30, 15, 250_000_900, time.FixedZone("", 3600)),
		Correlation: "c", TraceParent: "00-ab", Data: []byte("{\"a\":\n1}"),
	}
	want := strings.Join([]string{
		"agentos-leaf/1", "2:12", "7:0190-id", "7:default", "6:llm/p1", "1:3", "15:llm.call_failed", "1:1",
		"27:2026-03-04T09:30:15.250000Z", "1:c", "0:", "5:00-ab", "8:{\"a\":\n1}", "",
	}, "\n")
	if diff := cmp.Diff(want, string(core.Leaf(&r))); diff != "" {
		t.Error(diff)
	}
	other := r
	other.Kind, other.Data = "x", nil
	if diff := cmp.Diff([]string{"kind", "data"}, core.Differing(&r, &other)); diff != "" {
		t.Error(diff)
	}
}

func TestParseLeafRefuses(t *testing.T) {
	t.Parallel()
	good := string(core.Leaf(&events.Record{Data: []byte("{}")}))
	for name, leaf := range map[string]string{
		"empty":        "",
		"no fields":    "agentos-leaf/1\n",
		"cut":          good[:len(good)-1],
		"longer":       good + "x",
		"leading zero": strings.Replace(good, "2:{}", "02:{}", 1),
		"negative":     strings.Replace(good, "2:{}", "-2:{}", 1),
		"other format": strings.Replace(good, "leaf/1", "leaf/2", 1),
		"not a number": strings.Replace(good, "1:0", "1:x", 1),
	} {
		if _, err := core.ParseLeaf([]byte(leaf)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzParseLeaf: what is accepted is canonical.
func FuzzParseLeaf(f *testing.F) {
	f.Add(core.Leaf(&events.Record{ID: "x", Time: time.Unix(0, 0), Data: []byte("{}")}))
	f.Add([]byte("agentos-leaf/1\n9999999999999999999:"))
	f.Fuzz(func(t *testing.T, leaf []byte) {
		r, err := core.ParseLeaf(leaf)
		if err == nil && string(core.Leaf(&r)) != string(leaf) {
			t.Fatal("accepted and not canonical")
		}
	})
}

// Heads are announced in growing order, each once, however often they are asked for.
func TestDecide(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s core.State
		var announced int64
		for _, size := range rapid.SliceOf(rapid.Int64Range(1, 50)).Draw(t, "sizes") {
			evs := core.Decide(s, core.AnnounceHead{Size: size, Root: "r", Note: "n"})
			var want []audit.Event
			if size > announced {
				want = []audit.Event{audit.HeadSigned{Size: size, Root: "r", Note: "n"}}
				announced = size
			}
			if diff := cmp.Diff(want, evs); diff != "" {
				t.Fatal(diff)
			}
			for _, e := range evs {
				s = core.Evolve(s, e)
			}
		}
	})
}
