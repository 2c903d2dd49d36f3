package backbone_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/seal"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

const told = "xylophonic-marmalade"

// TestTenantErase: with a master key what an agent was told is in no event and on no broker in plain text;
// erasing the tenant is refused while one of its processes lives; afterwards nothing readable is left in
// any table, the audit log verifies as before, rebuilds and services pass over what is gone, and the
// tenant can go on. The master key can be changed, and a wrong one is an error that names the variable.
func TestTenantErase(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.key"), filepath.Join(dir, "second.key")
	home := kernel.Home(t)
	for _, file := range []string{first, second} {
		if ran := kernel.CLI(t, home, "keys", "master", file); ran.Code != 0 {
			t.Fatalf("%+v", ran)
		}
	}
	t.Setenv(seal.Variable, first)
	e := kernel.NewEngine(t, func(c kernel.EngineCall) kernel.EngineAnswer {
		a := kernel.EngineAnswer{Pieces: []string{"you said " + c.Task}}
		if strings.Contains(c.Task, "for ever") {
			a = kernel.EngineAnswer{Pieces: []string{"still", "thinking"}, Pause: time.Hour}
		}
		return a
	})
	k := kernel.Up(t, e.Env())
	done := spawnAgent(t, k, "remember "+told)
	if a, err := k.Client.Wait(t.Context(), done.PID); err != nil || !strings.Contains(a.Result, told) {
		t.Fatalf("%+v, %v", a, err)
	}
	kernel.AwaitEvent(t, k.Client, done.PID, "agent.completed")
	live := spawnAgent(t, k, "think for ever about "+told)
	kernel.AwaitEvent(t, k.Client, live.PID, "llm.call_started")
	auditVerify(t, k.Home)
	if n := found(t, k.DB(t), "eventstore"); n != 0 {
		t.Errorf("%d rows of the event store hold the text", n)
	}
	if n := found(t, k.DB(t), "scheduler"); n == 0 {
		t.Error("the search finds nothing where there is something")
	}
	if ran := kernel.CLI(t, k.Home, "events", "tail", "--from", "1", "--kind", "agent.spawned"); !strings.Contains(ran.Out, told) {
		t.Errorf("with the key an operator reads events: %+v", ran)
	}
	if ran := kernel.CLI(t, k.Home, "tenant", "erase", "default", "--yes"); ran.Code != fault.Conflict.ExitCode() || !strings.Contains(ran.ErrOut, "is running") {
		t.Errorf("beside a live kernel: %+v", ran)
	}

	// It lives on when the kernel stops: it has not ended.
	stopUp(t, k)
	withInfra(t, k.Home, func() {
		ran := kernel.CLI(t, k.Home, "tenant", "erase", "default", "--yes")
		if ran.Code != fault.Conflict.ExitCode() || !strings.Contains(ran.ErrOut, live.PID) || strings.Contains(ran.ErrOut, done.PID) {
			t.Errorf("with an unfinished process: %+v", ran)
		}
		ran = kernel.CLI(t, k.Home, "tenant", "rekey", second)
		if ran.Code != 0 || !strings.Contains(ran.Out, "1 data keys") {
			t.Errorf("rekey: %+v", ran)
		}
	})
	wrong := kernel.CLI(t, k.Home, "up", "--json", "--http", "127.0.0.1:0")
	if wrong.Code != fault.Invalid.ExitCode() || !strings.Contains(wrong.ErrOut, seal.Variable) {
		t.Errorf("with the old master key: %+v", wrong)
	}

	t.Setenv(seal.Variable, second)
	k.Start(t)
	if _, err := k.Client.Signal(t.Context(), live.PID, api.SignalSpec{Signal: "kill"}); err != nil {
		t.Fatal(err)
	}
	if a, err := k.Client.Wait(t.Context(), live.PID); err != nil || a.State != api.StateTerminated {
		t.Fatalf("%+v, %v", a, err)
	}
	auditVerify(t, k.Home)
	stopUp(t, k)
	var events int64
	withInfra(t, k.Home, func() {
		if ran := kernel.CLI(t, k.Home, "tenant", "erase", "default"); ran.Code != fault.Invalid.ExitCode() || !strings.Contains(ran.ErrOut, "--yes") {
			t.Errorf("without --yes: %+v", ran)
		}
		out := cliJSON[struct {
			Done         bool
			Events, Keys int64
			Rows         map[string]int64
		}](t, k.Home, "tenant", "erase", "default", "--yes")
		if !out.Done || out.Keys != 1 || out.Events < 10 || out.Rows["scheduler"] < 2 || out.Rows["learning"] < 2 {
			t.Errorf("erased: %+v", out)
		}
		events = out.Events
		db := k.DB(t)
		for _, schema := range []string{"eventstore", "scheduler", "context", "llm", "tools", "audit", "learning"} {
			if n := found(t, db, schema); n != 0 {
				t.Errorf("%d rows of %s still hold the text", n, schema)
			}
		}
		for _, s := range []string{"scheduler", "tools", "learning", "context", "llm-gateway"} {
			verify(t, k.Home, s)
		}
		r := cliJSON[struct{ Erased int64 }](t, k.Home, "rebuild", "scheduler", "--verify")
		if r.Erased < 5 {
			t.Errorf("a rebuild of the scheduler passed over %d of %d erased events", r.Erased, events)
		}
	})
	onBroker(t, filepath.Join(k.Home, "broker"))

	k.Start(t)
	for _, path := range []string{"/v1/agents/" + done.PID, "/v1/agents/" + done.PID + "/events", "/v1/agents/" + done.PID + "/context"} {
		a := k.Do(t, kernel.Request{Method: http.MethodGet, Path: path})
		if a.Status != http.StatusNotFound || !strings.Contains(string(a.Body), "erased") {
			t.Errorf("GET %s: %d %s", path, a.Status, a.Body)
		}
	}
	ran := kernel.CLI(t, k.Home, "events", "tail", "--from", "1", "--kind", "agent.spawned", "--json")
	if strings.Count(ran.Out, `"unread":"erased"`) != 2 {
		t.Errorf("events tail: %+v", ran)
	}
	again := spawnAgent(t, k, "begin anew")
	if a, err := k.Client.Wait(t.Context(), again.PID); err != nil || a.Result != "you said begin anew" {
		t.Errorf("the tenant cannot go on: %+v, %v", a, err)
	}
	auditVerify(t, k.Home)
	if ran := kernel.CLI(t, k.Home, "parked", "ls"); ran.Code != 0 || strings.Count(ran.Out, "\n") != 1 {
		t.Errorf("something is parked: %+v", ran)
	}
}

func spawnAgent(t *testing.T, k *kernel.Kernel, task string) api.Agent {
	t.Helper()
	a, err := k.Client.Spawn(t.Context(), api.AgentSpec{Task: task, Model: "openai/" + kernel.EngineModel})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func auditVerify(t *testing.T, home string) {
	t.Helper()
	if ran := kernel.CLI(t, home, "audit", "verify"); ran.Code != 0 {
		t.Fatalf("audit verify: %+v", ran)
	}
}

func stopUp(t *testing.T, k *kernel.Kernel) {
	t.Helper()
	if err := k.Process.Stop(time.Minute); err != nil {
		t.Fatal(err)
	}
}

// withInfra runs f while database and broker run and no service does.
func withInfra(t *testing.T, home string, f func()) {
	t.Helper()
	infra := kernel.Start(t, home, "infra", nil, "serve", "infra", "--json")
	infra.Ready(t, time.Minute)
	f()
	if err := infra.Stop(time.Minute); err != nil {
		t.Fatal(err)
	}
}

// found counts the rows of a schema that hold the word, in columns of text, JSON or bytes.
func found(t *testing.T, db *pgx.Conn, schema string) (n int) {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
		WHERE table_schema = $1 AND data_type IN ('text', 'json', 'jsonb', 'bytea')`, schema)
	if err != nil {
		t.Fatal(err)
	}
	cols, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c [3]string, err error) {
		return c, row.Scan(&c[0], &c[1], &c[2])
	})
	if err != nil || len(cols) == 0 {
		t.Fatalf("schema %s has no columns, %v", schema, err)
	}
	for _, c := range cols {
		expr := fmt.Sprintf("position($1 in %s::text) > 0", pgx.Identifier{c[1]}.Sanitize())
		var word any = told
		if c[2] == "bytea" {
			expr, word = fmt.Sprintf("position($1::bytea in %s) > 0", pgx.Identifier{c[1]}.Sanitize()), []byte(told)
		}
		var k int
		if err := db.QueryRow(t.Context(), fmt.Sprintf("SELECT count(*) FROM %s WHERE %s", pgx.Identifier{schema, c[0]}.Sanitize(), expr), word).Scan(&k); err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		n += k
	}
	return n
}

// onBroker looks for the word in the broker's files. Token deltas are not sealed: they have their own
// topic and are gone after minutes.
func onBroker(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path) //nolint:gosec // our own folder, which nobody else writes to
		if err != nil {
			return err
		}
		files++
		if bytes.Contains(raw, []byte(told)) && !strings.Contains(path, "agentos.llm.deltas") {
			t.Errorf("%s holds the text", path)
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Errorf("%d files of the broker, %v", files, err)
	}
}
