package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

// TestMigrate makes everything on a Postgres and a broker of one's own, twice, and refuses another
// partition count.
func TestMigrate(t *testing.T) {
	t.Setenv("AGENTOS_HOME", t.TempDir())
	t.Setenv("DATABASE_URL", "")
	t.Setenv("KAFKA_BROKERS", "")
	if code, _, errOut := cli(t, "migrate"); code != fault.Invalid.ExitCode() {
		t.Fatalf("without servers: exit code %d: %s", code, errOut)
	}
	url := testkit.Postgres(t)
	t.Setenv("DATABASE_URL", url)
	t.Setenv("KAFKA_BROKERS", testkit.Broker(t))
	want := "event store with 3 partitions\nschemas and roles: scheduler, context, llm-gateway, tools, audit, learning\n" +
		"topics: agentos.llm.deltas, agentos.agent, agentos.context, agentos.llm, agentos.tool, agentos.audit, agentos.learning\n"
	for range 2 {
		code, out, errOut := cli(t, "migrate", "--partitions", "3")
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, errOut)
		}
		if diff := cmp.Diff(want, out); diff != "" {
			t.Error(diff)
		}
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var schemas int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_namespace
		WHERE nspname IN ('eventstore', 'scheduler', 'context', 'llm', 'tools', 'audit', 'learning')`).Scan(&schemas); err != nil || schemas != 7 {
		t.Errorf("%d schemas, %v", schemas, err)
	}
	if code, _, errOut := cli(t, "migrate", "--partitions", "5"); code != fault.Invalid.ExitCode() {
		t.Errorf("another partition count: exit code %d: %s", code, errOut)
	}
	// The verbs that take the database find what was made.
	if code, out, errOut := cli(t, "parked", "ls"); code != 0 || out != "SERVICE  STREAM  VERSION  KIND  STATE  AT  REASON\n" {
		t.Errorf("parked ls: exit code %d, %q, %s", code, out, errOut)
	}
	if code, out, errOut := cli(t, "events", "tail"); code != 0 || out != "" {
		t.Errorf("events tail: exit code %d, %q, %s", code, out, errOut)
	}
}
