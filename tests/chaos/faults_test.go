package chaos

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/agentos-kernel/agentos/tests/kernel"
)

// do carries out a fault and returns when it is over.
func (w *world) do(ctx context.Context, f fault) error {
	var beside sync.WaitGroup
	var err error
	if f.Beside != nil {
		beside.Go(func() {
			time.Sleep(f.Hold / 4)
			err = w.do(ctx, *f.Beside)
		})
	}
	ferr := w.doOne(ctx, f)
	beside.Wait()
	if ferr == nil {
		ferr = err
	}
	return ferr
}

func (w *world) doOne(ctx context.Context, f fault) error {
	switch {
	case f.What == faultKill && f.Victim == victimPostgres:
		pid, err := w.postmaster(ctx)
		if err != nil {
			return fmt.Errorf("find the postmaster: %w", err)
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	case f.Victim == victimInfra && w.apache != nil:
		return w.disturbKafka(ctx, f)
	case f.What == faultKill:
		w.victim(f).kill()
		return nil
	case f.What == faultHang:
		return w.victim(f).hang(f.Hold)
	case f.What == faultCut, f.What == faultSlow, f.What == faultMute:
		return w.net.disturb(ctx, f)
	case f.What == faultFull:
		return w.disks.fill(f)
	case f.What == faultStorm:
		w.storm(f) //nolint:contextcheck // finding a free port takes none
		return nil
	}
	return fmt.Errorf("no such fault: %s", f)
}

// disturbKafka does to a real Kafka what is done to infra, which has the embedded broker in it.
func (w *world) disturbKafka(ctx context.Context, f fault) error {
	if f.What == faultKill {
		w.apache.Kill()
		return w.apache.Start(ctx)
	}
	if err := w.apache.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(f.Hold)
	return w.apache.Signal(syscall.SIGCONT)
}

func (w *world) victim(f fault) *guarded {
	if f.Victim == victimInfra {
		return w.infra
	}
	return w.procs[replicaName(f.Victim, f.Replica)]
}

// storm has further replicas of a service join and leave, in order and by SIGKILL in turn, so that its
// group is never at rest.
func (w *world) storm(f fault) {
	end := time.Now().Add(f.Hold)
	for n := 0; time.Now().Before(end); n++ {
		name := f.Victim + "-storm"
		p := kernel.Start(w.t, w.services, name, w.env, "serve", f.Victim, "--json", "--http", "127.0.0.1:"+kernel.Port(w.t),
			"--workspace-root", w.roots)
		time.Sleep(800 * time.Millisecond)
		if n%2 == 1 {
			p.Kill()
			continue
		}
		_ = p.Stop(10 * time.Second) // what it leaves undone shows in the checks
	}
}
