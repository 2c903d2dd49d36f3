package service_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

// log is a state that grows with its stream: its last messages and how many there were.
type log struct {
	N    int      `json:"n"`
	Last []string `json:"last"`
}

func logFold() service.Fold[log] {
	return service.Fold[log]{
		Family: events.Agent, Codec: 1, Every: 10,
		Evolve: func(l log, e events.Event) log {
			if m, ok := e.(agent.MessageReceived); ok {
				l.N++
				l.Last = append(l.Last, m.Content)
				l.Last = l.Last[max(0, len(l.Last)-3):]
			}
			return l
		},
	}
}

// logger appends one message per command and answers with the state after it; "fail" changes the state and
// then makes the commit fail once.
func logger(fold service.Fold[log]) service.Definition {
	streams := fold.Streams()
	failed := false
	return service.Definition{
		Name: "scheduler", Family: events.Agent, Consumes: []events.Family{events.LLM}, Fold: fold,
		Handle: func(ctx context.Context, u *service.Unit, in *service.Input) error {
			cmd, ok := in.Command.(write)
			if !ok {
				return nil
			}
			st, err := streams.Load(ctx, u, in.Tenant, in.Subject)
			if err != nil {
				return err
			}
			if cmd.content == "fail" && !failed {
				failed = true
				st.Append(agent.MessageReceived{Content: "never"})
				u.Exec("SELECT eventstore.must(false, 'the test says so')")
				return nil
			}
			st.Append(agent.MessageReceived{Content: cmd.content})
			in.Reply(st.State.N)
			return nil
		},
	}
}

func say(t *testing.T, rt *service.Runtime, subject string, contents ...string) (n any) {
	t.Helper()
	var err error
	for _, c := range contents {
		if n, err = rt.Do(t.Context(), events.DefaultTenant, subject, write{c}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func words(n int) []string {
	return strings.Split(strings.TrimSuffix(strings.Repeat("word ", n), " "), " ")
}

func load(t *testing.T, db *pgxpool.Pool, fold service.Fold[log], subject string) service.Loaded[log] {
	t.Helper()
	reg, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	l, err := fold.Load(t.Context(), db, reg.Decode, events.DefaultTenant, subject)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLongStreamsAreLoadedFromASnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fold := logFold()
	rt := w.Runtime(t, logger(fold))
	stop := w.Run(t, rt)
	say(t, rt, "short", words(9)...)
	say(t, rt, "long", words(34)...)
	db := rt.DB()
	testkit.Eventually(t, "the third snapshot", func() bool { return load(t, w.Pool(t, "scheduler"), fold, "long").Snapshot == 30 })
	if l := load(t, db, fold, "long"); l.Version != 34 || l.State.N != 34 {
		t.Fatalf("snapshot and tail make %+v", l)
	}
	if l := load(t, db, fold, "short"); l.Snapshot != 0 || l.State.N != 9 {
		t.Fatalf("the short stream makes %+v", l)
	}
	stop()

	// The next program goes on from it, and writes the next one.
	rt = w.Runtime(t, logger(fold))
	stop = w.Run(t, rt)
	if n := say(t, rt, "long", words(6)...); n != 40 {
		t.Fatalf("after a restart the state has %v messages, want 40", n)
	}
	testkit.Eventually(t, "the fourth snapshot", func() bool { return load(t, rt.DB(), fold, "long").Snapshot == 40 })
	stop()
}

// What a snapshot should not be taken for is ignored, and the next one takes its place.
func TestSnapshotsThatDoNotFitAreIgnored(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]string{
		"unreadable":           "UPDATE snapshots SET state = 'x'",
		"another codec":        `UPDATE snapshots SET codec = 2, state = '{"n":1000}'`,
		"beyond the stream":    `UPDATE snapshots SET version = 1000, state = '{"n":1000}'`,
		"there is none at all": "DELETE FROM snapshots",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			fold := logFold()
			rt := w.Runtime(t, logger(fold))
			stop := w.Run(t, rt)
			say(t, rt, "p", words(12)...)
			testkit.Eventually(t, "a snapshot", func() bool { return load(t, rt.DB(), fold, "p").Snapshot == 10 })
			stop()
			db := w.Pool(t, "scheduler")
			if _, err := db.Exec(t.Context(), damage); err != nil {
				t.Fatal(err)
			}
			if l := load(t, db, fold, "p"); l.Snapshot != 0 || l.Version != 12 || l.State.N != 12 {
				t.Fatalf("loaded %+v", l)
			}
			rt = w.Runtime(t, logger(fold))
			w.Run(t, rt)
			if n := say(t, rt, "p", "one more"); n != 13 {
				t.Fatalf("the state has %v messages, want 13", n)
			}
			testkit.Eventually(t, "a new snapshot", func() bool { return load(t, rt.DB(), fold, "p").Snapshot == 13 })
		})
	}
}

// A batch that fails has changed the state in memory: no snapshot is made of it.
func TestAFailedBatchLeavesNoSnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fold := logFold()
	rt := w.Runtime(t, logger(fold))
	w.Run(t, rt)
	say(t, rt, "p", words(9)...)
	if n := say(t, rt, "p", "fail"); n != 10 {
		t.Fatalf("the state has %v messages, want 10", n)
	}
	testkit.Eventually(t, "a snapshot", func() bool { return load(t, rt.DB(), fold, "p").Snapshot == 10 })
	if l := load(t, rt.DB(), fold, "p"); l.State.Last[2] != "fail" {
		t.Fatalf("the snapshot holds %+v", l.State)
	}
}

func TestRebuildComparesAndDropsSnapshots(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fold := logFold()
	rt := w.Runtime(t, logger(fold))
	stop := w.Run(t, rt)
	for _, subject := range []string{"a", "b"} {
		say(t, rt, subject, words(12)...)
		testkit.Eventually(t, "a snapshot", func() bool { return load(t, rt.DB(), fold, subject).Snapshot == 10 })
	}
	if _, err := rt.Rebuild(t.Context(), true); !fault.Is(err, fault.Conflict) {
		t.Fatalf("beside a live replica: %v", err)
	}
	stop()
	rt = w.Runtime(t, logger(fold))
	if res, err := rt.Rebuild(t.Context(), true); err != nil || res.Differs != "" || res.Snapshots != 2 {
		t.Fatalf("verify: %+v, %v", res, err)
	}
	if _, err := rt.DB().Exec(t.Context(), `UPDATE snapshots SET state = '{"n":11,"last":["word","word","word"]}' WHERE stream = 'agent/b'`); err != nil {
		t.Fatal(err)
	}
	if res, err := rt.Rebuild(t.Context(), true); err != nil || !strings.Contains(res.Differs, "agent/b version 10") {
		t.Fatalf("verify of a wrong snapshot: %+v, %v", res, err)
	}
	if res, err := rt.Rebuild(t.Context(), false); err != nil || res.Snapshots != 2 {
		t.Fatalf("rebuild: %+v, %v", res, err)
	}
	if l := load(t, rt.DB(), fold, "b"); l.Snapshot != 0 || l.State.N != 12 {
		t.Fatalf("after the rebuild %+v", l)
	}
}
