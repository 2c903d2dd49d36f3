package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/tests/kernel"
)

// graceTime is what a kernel has to stop in, by default.
const graceTime = 10 * time.Second

// TestSIGTERMDrainsUnderLoad: told to stop in the middle of model calls and conversations, the kernel ends
// with 0 within its grace time, and after the next start everything finishes, nothing lost or doubled.
func TestSIGTERMDrainsUnderLoad(t *testing.T) {
	t.Parallel()
	e := kernel.NewEngine(t, func(c kernel.EngineCall) kernel.EngineAnswer {
		n := 40 // 2 s: ends within the grace time
		if c.Number == 1 && c.Task[len(c.Task)-1]%2 == 0 {
			n = 400 // 20 s: is cut by the stop
		}
		return kernel.EngineAnswer{Pieces: words(n), Pause: 50 * time.Millisecond}
	})
	k := kernel.Up(t, e.Env())
	drive := kernel.StartDrive(t, k.Client, "drain", 20, 3*time.Minute)
	var slow []api.Agent
	for i := range 20 {
		slow = append(slow, spawn(t, k, api.AgentSpec{Task: fmt.Sprintf("slow %d", i)}))
	}
	for _, a := range slow {
		kernel.AwaitEvent(t, k.Client, a.PID, "llm.call_started")
	}
	asked := time.Now()
	if err := k.Process.Stop(graceTime + 10*time.Second); err != nil {
		t.Fatalf("the kernel did not stop well: %v", err)
	}
	took := time.Since(asked)
	fmt.Printf("drain: stopped after %.1f s with 20 model calls and conversations under way\n", took.Seconds())
	if took > graceTime+5*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	k.Start(t)
	began, cut := time.Now(), 0
	for _, a := range slow {
		a = wait(t, k, a.PID)
		if a.State != api.StateCompleted {
			t.Errorf("%s: %+v", a.State, a.Error)
		}
		kernel.Once(t, k.Client, a.PID)
		started := kernel.Of[llm.CallStarted](t, kernel.Events(t, k.Client, a.PID), "llm.call_started")
		if len(started) > 2 {
			t.Errorf("%s was started %d times", a.PID, len(started))
		}
		cut += len(started) - 1
	}
	drive.Check(t, k.Client)
	kernel.AuditVerified(t, k.Client)
	fmt.Printf("drain: %d of 20 calls were cut and repeated, all done %.1f s after the next start\n", cut, time.Since(began).Seconds())
}

// TestABrokerThatIsLostIsRebuilt: Kafka holds no truth. With its data deleted while conversations are under
// way, the kernel goes on from the event store.
func TestABrokerThatIsLostIsRebuilt(t *testing.T) {
	t.Parallel()
	k := kernel.Up(t, nil)
	drive := kernel.StartDrive(t, k.Client, "rebuilt", 20, 3*time.Minute)
	for range 2 {
		time.Sleep(700 * time.Millisecond)
		if drive.Over() {
			t.Log("the conversations were over before the broker was lost")
		}
		k.Process.Kill()
		if err := os.RemoveAll(filepath.Join(k.Home, "broker")); err != nil {
			t.Fatal(err)
		}
		k.Start(t)
	}
	drive.Check(t, k.Client)
	kernel.AuditVerified(t, k.Client)
	// What is new goes through the new broker.
	kernel.StartDrive(t, k.Client, "after", 3, time.Minute).Check(t, k.Client)
}
