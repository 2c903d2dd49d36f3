package integration

import (
	"fmt"
	"testing"
	"time"
	"context"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

func TestZZ(t *testing.T) {
	e := kernel.NewEngine(t, func(c kernel.EngineCall) kernel.EngineAnswer {
		return kernel.EngineAnswer{Pieces: words(400), Pause: 50 * time.Millisecond}
	})
	k := kernel.Up(t, e.Env(), "--log-level", "debug")
	db := k.DB(t)
	for i := range 4 {
		a := spawn(t, k, api.AgentSpec{Task: fmt.Sprintf("slow %d", i)})
		kernel.AwaitEvent(t, k.Client, a.PID, "llm.call_started")
	}
	kernel.StartDrive(t, k.Client, "drain", 20, 3*time.Minute)
	time.Sleep(500*time.Millisecond)
	begin := time.Now()
	go func() {
		for range 100 {
			rows, err := db.Query(context.Background(), "select family, count(*) from eventstore.outbox group by 1")
			if err != nil { fmt.Println(time.Since(begin), err); return }
			s := ""
			for rows.Next() { var f string; var n int; _ = rows.Scan(&f, &n); s += fmt.Sprint(f, n, " ") }
			rows.Close()
			if s != "" { fmt.Println(time.Since(begin), s) }
			time.Sleep(100*time.Millisecond)
		}
	}()
	_ = k.Process.Stop(20*time.Second)
	fmt.Println("took", time.Since(begin))
	t.Error("keep", k.Home)
}
