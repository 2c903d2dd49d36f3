package service_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	"github.com/agentos-kernel/agentos/libs/testkit"
)

// Who asks a replica that stops is told so, and that another will do it: nobody waits for nothing, and
// nobody is told that he gave up himself.
func TestAStoppedReplicaSendsCommandsElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rt := w.Runtime(t, writer())
	stop := w.Run(t, rt)
	if _, err := rt.Do(t.Context(), events.DefaultTenant, "p1", write{"hello"}); err != nil {
		t.Fatal(err)
	}
	var asked, refused atomic.Int64
	done := make(chan struct{})
	go func() { // under way while it stops
		defer close(done)
		for refused.Load() == 0 {
			asked.Add(1)
			if _, err := rt.Do(context.WithoutCancel(t.Context()), events.DefaultTenant, "p1", write{"hello"}); err != nil {
				refused.Add(1)
				if !fault.Is(err, fault.Unavailable) || fault.FixOf(err) == "" {
					t.Errorf("%v (%s, fix %q), want unavailable with a fix", err, fault.KindOf(err), fault.FixOf(err))
				}
			}
		}
	}()
	testkit.Eventually(t, "commands are under way", func() bool { return asked.Load() > 3 })
	stop()
	<-done
}

// A service that is started before its database waits for it and then works.
func TestAServiceWaitsForPostgres(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.Pool(t, "scheduler").Config()
	var away atomic.Bool
	var tried atomic.Int64
	away.Store(true)
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		tried.Add(1)
		if away.Load() {
			return nil, errors.New("connection refused")
		}
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(t.Context()), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	rt := w.Runtime(t, writer(), func(d *service.Deps) { d.DB = pool })
	w.Run(t, rt)
	testkit.Eventually(t, "it tries again", func() bool { return tried.Load() > 3 })
	if err := rt.Ready(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("ready: %v, want unavailable", err)
	}
	away.Store(false)
	testkit.Eventually(t, "ready", func() bool { return rt.Ready(t.Context()) == nil })
	if _, err := rt.Do(t.Context(), events.DefaultTenant, "p1", write{"hello"}); err != nil {
		t.Fatal(err)
	}
}

// A replica that owns no shard, such as one whose group is still joining, keeps its relay's session.
func TestARelayWithoutShardsKeepsItsSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Broker = "127.0.0.1:1" // no group
	rt := w.Runtime(t, writer())
	w.Run(t, rt)
	conn, err := pgx.Connect(t.Context(), w.Admin)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	session := func() (pid int) {
		_ = conn.QueryRow(t.Context(), `SELECT pid FROM pg_stat_activity WHERE datname = current_database()
			AND usename = 'agentos_scheduler' AND query LIKE '%-- ping%' ORDER BY backend_start LIMIT 1`).Scan(&pid)
		return pid
	}
	testkit.Eventually(t, "the relay's session", func() bool { return session() != 0 })
	first := session()
	time.Sleep(7 * time.Second) // the limit is 5 s
	if got := session(); got != first {
		t.Errorf("the relay's session %d was followed by %d", first, got)
	}
}
