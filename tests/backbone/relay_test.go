package backbone_test

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

// measured is a runtime with a registry of its own.
func measured(t *testing.T, w *testkit.World, def service.Definition) (*service.Runtime, *prometheus.Registry) {
	t.Helper()
	return measuredOn(t, w, w.Pool(t, def.Name), def)
}

// measuredOn is measured on a pool of the caller's.
func measuredOn(t *testing.T, w *testkit.World, db *pgxpool.Pool, def service.Definition) (*service.Runtime, *prometheus.Registry) {
	t.Helper()
	metrics := prometheus.NewRegistry()
	rt := w.Runtime(t, def, func(d *service.Deps) { d.DB, d.Metrics = db, metrics })
	return rt, metrics
}

// outboxEmpty reports whether all that was committed has been published.
func outboxEmpty(t *testing.T, conn *pgx.Conn) func() bool {
	t.Helper()
	return func() bool {
		var n int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM eventstore.outbox").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	}
}

// value adds up a metric over its labels; false when there is none of that name.
func value(t *testing.T, reg *prometheus.Registry, name string) (float64, bool) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	found := false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		found = true
		for _, m := range f.GetMetric() {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum, found
}

// A commit to a shard whose relay another replica holds is published by that replica at once, not at its
// next poll of 250 ms.
func TestCommitWakesTheOtherReplicasRelay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, _ := measured(t, w, writer())
	two, metrics := measured(t, w, writer())
	w.Run(t, one)
	w.Run(t, two)
	testkit.Eventually(t, "both own shards", func() bool {
		return len(one.Owned()) == 2 && len(two.Owned()) == 2 && one.Ready(t.Context()) == nil && two.Ready(t.Context()) == nil
	})
	subject := testkit.Subject(two)
	conn := operator(t, w)
	published := outboxEmpty(t, conn)
	send(t, one, subject, "warm")
	testkit.Eventually(t, "the first published", published)
	var took []time.Duration
	for range 9 {
		start := time.Now()
		send(t, one, subject, "hello")
		testkit.Eventually(t, "published", published)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	// Without the wake each would wait a whole poll, for it begins anew with every publication.
	if took[4] > 150*time.Millisecond {
		t.Errorf("published after %v", took)
	}
	if n, _ := value(t, metrics, "agentos_relay_notified_total"); n == 0 {
		t.Error("the other relay was not notified")
	}
	t.Logf("commit to outbox empty, through the other replica's relay: p50 %v, max %v", took[4], took[8])
}

// The figures an operator watches tell the truth: what is parked, what the group has before it, what the
// relay has before it, how long an open transaction has held the safe position back.
func TestFigures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := &listener{}
	l.sick.Store(true)
	rt, metrics := measured(t, w, l.definition())
	w.Run(t, rt)
	wr, writes := measured(t, w, writer())
	w.Run(t, wr)
	send(t, wr, "bad", "poison", "behind")
	testkit.Eventually(t, "two parked", func() bool { n, _ := value(t, metrics, "agentos_parked_depth"); return n == 2 })
	testkit.Eventually(t, "no lag", func() bool { n, ok := value(t, metrics, "agentos_group_lag"); return ok && n == 0 })
	if n, ok := value(t, writes, "agentos_relay_backlog"); !ok || n > 1 {
		t.Errorf("relay backlog %v, %v", n, ok)
	}

	// An open transaction with an id holds the watermark back.
	admin, err := pgx.Connect(t.Context(), w.Admin)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(t.Context()) }()
	tx, err := admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT pg_current_xact_id()"); err != nil {
		t.Fatal(err)
	}
	send(t, wr, "good", "fine")
	testkit.Eventually(t, "the watermark ages", func() bool { n, _ := value(t, metrics, "agentos_watermark_age_seconds"); return n > 2 })
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the watermark is free", func() bool { n, _ := value(t, metrics, "agentos_watermark_age_seconds"); return n == 0 })
}

// ice freezes the connections made through it, as a frozen process does: they stay open and silent.
type ice struct {
	frozen atomic.Bool
	thawed chan struct{}
}

type iceConn struct {
	net.Conn
	ice *ice
}

func (c iceConn) wait() {
	if c.ice.frozen.Load() {
		<-c.ice.thawed
	}
}

func (c iceConn) Write(b []byte) (int, error) {
	c.wait()
	return c.Conn.Write(b)
}

func (c iceConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wait()
	return n, err
}

// pool is the writer's pool through the ice.
func (i *ice) pool(t *testing.T, w *testkit.World) *pgxpool.Pool {
	t.Helper()
	cfg := w.Pool(t, "scheduler").Config()
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		return iceConn{c, i}, err
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(t.Context()), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// holder is the session that holds the locks of several shards: the relay's; 0 when none does.
func holder(t *testing.T, conn *pgx.Conn) (pid int) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `SELECT coalesce((SELECT pid FROM pg_locks WHERE locktype = 'advisory'
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
		GROUP BY pid HAVING count(*) > 1 LIMIT 1), 0)`).Scan(&pid)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// A relay that waits for a mute broker keeps its session, for it is alive.
func TestARelayThatWaitsForTheBrokerKeepsItsLocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	front := net.JoinHostPort("127.0.0.1", freePort(t))
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerConfig{Advertise: front})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "broker", front, b.Addr())
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	w.Broker = front
	w.Topics(t)
	rt, _ := measured(t, w, writer())
	w.Run(t, rt)
	conn := operator(t, w)
	testkit.Eventually(t, "the relay holds all shards", func() bool {
		return len(rt.Owned()) == testkit.Partitions && rt.Ready(t.Context()) == nil && holder(t, conn) != 0
	})
	first := holder(t, conn)
	mute := func(stream string) {
		if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(`{"type": "timeout", "stream": "` + stream + `", "attributes": {"timeout": 0}}`)); err != nil {
			t.Fatal(err)
		}
	}
	mute("upstream")
	mute("downstream")
	send(t, rt, "p1", "hello")
	time.Sleep(8 * time.Second) // an idle session has 5 s
	if got := holder(t, conn); got != first {
		t.Errorf("the relay's session %d was followed by %d", first, got)
	}
	proxy.Toxics.ResetToxics(t.Context())
	testkit.Eventually(t, "published", outboxEmpty(t, conn))
}

func freePort(t *testing.T) string {
	t.Helper()
	n, err := embedded.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(n)
}

// A replica whose connections are frozen keeps them, but not its shards' locks: Postgres ends a relay's
// session that sends nothing, and the replica that owns the shard now publishes.
func TestAFrozenRelayLosesItsLocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cold := &ice{thawed: make(chan struct{})}
	one, _ := measuredOn(t, w, cold.pool(t, w), writer())
	w.Run(t, one)
	t.Cleanup(func() { close(cold.thawed) }) // before the replica's stop
	testkit.Eventually(t, "one owns all", func() bool { return len(one.Owned()) == testkit.Partitions && one.Ready(t.Context()) == nil })
	send(t, one, "p1", "warm")
	conn := operator(t, w)
	published := outboxEmpty(t, conn)
	testkit.Eventually(t, "the first published", published)
	cold.frozen.Store(true)

	two, _ := measured(t, w, writer())
	w.Run(t, two)
	testkit.Eventually(t, "two owns shards", func() bool { return len(two.Owned()) > 0 })
	subject := testkit.Subject(two)
	send(t, two, subject, "hello")
	testkit.Eventually(t, "published although the frozen replica had the lock", published)
}
