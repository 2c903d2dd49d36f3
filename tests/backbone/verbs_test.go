package backbone_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/bus"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/testkit"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// cliJSON runs a verb with --json and decodes its answer.
func cliJSON[T any](t *testing.T, home string, args ...string) T {
	t.Helper()
	ran := kernel.CLI(t, home, append(args, "--json")...)
	if ran.Code != 0 {
		t.Fatalf("agentos %v: exit code %d: %s%s", args, ran.Code, ran.Out, ran.ErrOut)
	}
	var v T
	if err := json.Unmarshal([]byte(ran.Out), &v); err != nil {
		t.Fatalf("agentos %v: %v in %s", args, err, ran.Out)
	}
	return v
}

type rebuilt struct {
	Tables    []string `json:"tables"`
	Events    int64    `json:"events"`
	Rows      int64    `json:"rows"`
	Snapshots int64    `json:"snapshots"`
	Differs   string   `json:"differs"`
}

// Services are killed in the middle of their work; what their read models and snapshots are then is what
// the event store makes of what they had handled, byte for byte; they are rebuilt, and the work goes on to
// its end.
func TestRebuildInTheMiddleOfWork(t *testing.T) { //nolint:paralleltest // it wants the machine for itself
	s := kernel.Serve(t)
	ran := kernel.CLI(t, s.Home, "rebuild", "learning")
	if ran.Code != fault.Conflict.ExitCode() || !strings.Contains(ran.ErrOut, "stop the service first") {
		t.Errorf("rebuild beside the live service: %+v", ran)
	}
	work := kernel.StartDrive(t, s.Client, "rebuild", 6, 2*time.Minute)
	victims := []string{"scheduler", "context", "llm-gateway", "tools", "learning"}
	for round := range 3 {
		time.Sleep(700 * time.Millisecond)
		for _, v := range victims {
			s.Procs[v].Kill()
		}
		for _, v := range victims {
			r := verify(t, s.Home, v)
			t.Logf("round %d: %s: %d events make the same %d rows of %v, %d snapshots", round, v, r.Events, r.Rows, r.Tables, r.Snapshots)
			cliJSON[rebuilt](t, s.Home, "rebuild", v)
			verify(t, s.Home, v)
		}
		for _, v := range victims {
			s.Start(t, v)
		}
		for _, v := range victims {
			s.Procs[v].Ready(t, 40*time.Second)
		}
	}
	work.Check(t, s.Client)
	eventVerbs(t, s.Home)
	snapshots := int64(0)
	for _, v := range victims {
		if err := s.Procs[v].Stop(20 * time.Second); err != nil {
			t.Errorf("stop %s: %v", v, err)
		}
		r := verify(t, s.Home, v)
		snapshots += r.Snapshots
		t.Logf("at the end: %s: %d events, %d rows of %v, %d snapshots", v, r.Events, r.Rows, r.Tables, r.Snapshots)
	}
	if snapshots == 0 {
		t.Error("no stream had a snapshot to verify")
	}
	if ran := kernel.CLI(t, s.Home, "rebuild", "audit"); ran.Code != fault.Denied.ExitCode() || !strings.Contains(ran.ErrOut, "primary record") {
		t.Errorf("rebuild of the audit log: %+v", ran)
	}
}

func verify(t *testing.T, home, service string) rebuilt {
	t.Helper()
	r := cliJSON[rebuilt](t, home, "rebuild", service, "--verify")
	if r.Differs != "" {
		t.Errorf("%s: %s", service, r.Differs)
	}
	return r
}

// eventVerbs reads the store as a person would.
func eventVerbs(t *testing.T, home string) {
	t.Helper()
	type event struct {
		Position int64  `json:"position"`
		ID       string `json:"id"`
		Kind     string `json:"kind"`
	}
	ran := kernel.CLI(t, home, "events", "tail", "--from", "1", "--kind", "agent.spawned", "--json")
	lines := strings.Split(strings.TrimSpace(ran.Out), "\n")
	if ran.Code != 0 || len(lines) != 6 {
		t.Fatalf("tail: %+v", ran)
	}
	last := int64(0)
	for _, line := range lines {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Position <= last || e.Kind != "agent.spawned" {
			t.Fatalf("%s: %v", line, err)
		}
		last = e.Position
		for _, by := range []string{e.ID, strconv.FormatInt(e.Position, 10)} {
			if got := cliJSON[event](t, home, "events", "show", by); got != e {
				t.Errorf("show %s: %+v, want %+v", by, got, e)
			}
		}
	}
	if ran := kernel.CLI(t, home, "events", "tail"); ran.Code != 0 || strings.Count(ran.Out, "\n") != 20 {
		t.Errorf("tail: %+v", ran)
	}
	if ran := kernel.CLI(t, home, "parked", "ls"); ran.Code != 0 || strings.Count(ran.Out, "\n") != 1 {
		t.Errorf("something is parked: %+v", ran)
	}
	type republished struct{ Events, To int64 }
	if got := cliJSON[republished](t, home, "bus", "rebuild", "--from", "1", "--to", strconv.FormatInt(last, 10)); got.To != last || got.Events < 6 {
		t.Errorf("bus rebuild: %+v", got)
	}
}

// An event of a newer program is parked by the services that must understand it, and by those only; the
// verbs show it, fail to give it back with the reason, and skip it, beside the running kernel.
func TestParkedVerbs(t *testing.T) { //nolint:paralleltest // it wants the machine for itself
	k := kernel.Up(t, nil)
	db := k.DB(t)
	const stream = "agent/pfromthefuture"
	tail := kernel.Start(t, k.Home, "tail", nil, "events", "tail", "-f", "--json", "--from", "1", "--kind", "agent.from_the")
	future(t, db, stream)
	if e := tail.Ready(t, 20*time.Second); e["stream"] != stream || e["version"] != 1.0 {
		t.Errorf("tail -f: %v", e)
	}
	if err := tail.Stop(10 * time.Second); err != nil {
		t.Errorf("stop of tail -f: %v", err)
	}
	type row struct{ Service, Stream, Kind, State, Reason string }
	of := func(state string) (names []string) {
		for _, r := range cliJSON[[]row](t, k.Home, "parked", "ls") {
			if r.Stream == stream && r.State == state && r.Kind == "agent.from_the_future" {
				names = append(names, r.Service)
			}
		}
		return names
	}
	want := []string{"context", "llm-gateway", "tools"}
	testkit.Eventually(t, "parked by three", func() bool { return slices.Equal(of("parked"), want) })
	show := kernel.CLI(t, k.Home, "parked", "show", "--service", "tools", stream)
	if show.Code != 0 || !strings.Contains(show.Out, "this program is older than its writer") || !strings.Contains(show.Out, `"new": true`) {
		t.Errorf("show: %+v", show)
	}
	type outcome struct {
		Asked, Pending, Parked int
		Live                   bool
		Reason                 string
	}
	if o := cliJSON[outcome](t, k.Home, "parked", "retry", "--service", "tools", stream); !o.Live || o.Parked != 1 || o.Pending != 0 || o.Reason == "" {
		t.Errorf("retry: %+v", o)
	}
	for _, s := range want {
		if o := cliJSON[outcome](t, k.Home, "parked", "drop", "--service", s, stream); !o.Live || o.Asked != 1 || o.Parked+o.Pending != 0 {
			t.Errorf("drop for %s: %+v", s, o)
		}
	}
	if got := of("dropped"); !slices.Equal(got, want) {
		t.Errorf("dropped: %v", got)
	}
	if ran := kernel.CLI(t, k.Home, "parked", "retry", "--service", "tools", stream); ran.Code != fault.NotFound.ExitCode() {
		t.Errorf("retry of nothing: %+v", ran)
	}
	var leaves int
	testkit.Eventually(t, "in the audit log", func() bool {
		err := db.QueryRow(t.Context(), "SELECT count(*) FROM audit.leaves WHERE stream = $1", stream).Scan(&leaves)
		return err == nil && leaves == 1
	})
}

// future appends an event of a kind that nobody knows yet.
func future(t *testing.T, db *pgx.Conn, stream string) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SET LOCAL ROLE agentos_scheduler"); err != nil {
			return err
		}
		var b eventstore.Batch
		b.Add(eventstore.Append{Tenant: tenant, Stream: stream, Shard: bus.Partition(events.SubjectOf(stream), 4), Records: []events.Record{{
			ID: uuid.NewString(), Kind: "agent.from_the_future", SchemaVersion: 1, Time: time.Now(), Data: []byte(`{"new":true}`),
		}}})
		p := &pgx.Batch{}
		b.Queue(p)
		return tx.SendBatch(t.Context(), p).Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}
