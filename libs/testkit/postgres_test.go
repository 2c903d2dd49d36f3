package testkit_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"github.com/agentos-kernel/agentos/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m, func() error { return goleak.Find() }) }

// Each call gets a database of its own, with pgvector in it.
func TestPostgresIsFresh(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "b", "c"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			url := testkit.Postgres(t)
			t.Logf("database after %s", time.Since(start))
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.WithoutCancel(t.Context()))
			if _, err := conn.Exec(t.Context(), "CREATE TABLE only_here (v vector(3))"); err != nil {
				t.Fatal(err)
			}
			var fsync string
			if err := conn.QueryRow(t.Context(), "SHOW fsync").Scan(&fsync); err != nil || fsync != "off" {
				t.Errorf("fsync = %q, %v; want off in tests", fsync, err)
			}
		})
	}
}

// The database goes with its test even while a connection is open, and its name is not used again.
func TestPostgresDropsItsDatabase(t *testing.T) {
	t.Parallel()
	var url string
	t.Run("user", func(t *testing.T) {
		url = testkit.Postgres(t)
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	})
	if url == "" {
		t.Skip("the subtest was skipped")
	}
	if conn, err := pgx.Connect(t.Context(), url); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the database of an ended test still takes connections")
	}
}

func TestBroker(t *testing.T) {
	t.Parallel()
	addr := testkit.Broker(t)
	tr := &kafka.Transport{}
	defer tr.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(addr), Transport: tr}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	res, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: "x", NumPartitions: 4, ReplicationFactor: 1}}})
	if err != nil || res.Errors["x"] != nil {
		t.Fatalf("create a topic: %v, %v", err, res)
	}
}

func BenchmarkPostgres(b *testing.B) {
	if os.Getenv("AGENTOS_REQUIRE") == "" {
		b.Skip("set AGENTOS_REQUIRE=postgres to measure a test database")
	}
	testkit.Postgres(b)
	for b.Loop() {
		testkit.Postgres(b)
	}
}
