package backbone_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/tests/kernel"
)

// The broker is killed under load and loses the newest segment of every partition. One service was frozen
// just before, so that there is much that the broker had acknowledged and nobody has read: it is gone from
// the broker. The services find it in Postgres, by the gaps in the streams and by the sweep: every
// conversation ends as it was recorded.
func TestNewestSegmentsLostUnderLoad(t *testing.T) { //nolint:paralleltest // it wants the machine for itself
	s := kernel.Serve(t)
	for _, frozen := range []string{"context", "tools"} {
		work := kernel.StartDrive(t, s.Client, "segments "+frozen, 12, 2*time.Minute)
		time.Sleep(300 * time.Millisecond)
		freeze(t, s.Procs[frozen], syscall.SIGSTOP)
		time.Sleep(500 * time.Millisecond) // the others publish what it will not read
		over := work.Over()
		s.Infra.Kill()
		dropped := dropSegments(t, filepath.Join(s.Home, "broker"))
		s.StartInfra(t)
		freeze(t, s.Procs[frozen], syscall.SIGCONT)
		back := time.Now()
		work.Check(t, s.Client)
		t.Logf("%s frozen, %d segments lost (load over before: %v); everything was done %.1f s after the broker was back",
			frozen, dropped, over, time.Since(back).Seconds())
	}
	kernel.AuditVerified(t, s.Client)
}

func freeze(t *testing.T, p *kernel.Process, sig syscall.Signal) {
	t.Helper()
	if err := p.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// dropSegments removes the newest segment of every partition of the kernel's topics, with its index, and
// says how many held messages.
func dropSegments(t *testing.T, broker string) (dropped int) {
	t.Helper()
	newest := map[string]fs.FileInfo{} // by partition's folder
	err := filepath.WalkDir(broker, func(path string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".dat" || !strings.Contains(path, "agentos.") {
			return err
		}
		info, err := e.Info()
		if was := newest[filepath.Dir(path)]; was == nil || len(info.Name()) > len(was.Name()) ||
			len(info.Name()) == len(was.Name()) && info.Name() > was.Name() { // names are offsets
			newest[filepath.Dir(path)] = info
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, info := range newest {
		if info.Size() > 0 {
			dropped++
		}
		for _, ext := range []string{".dat", ".idx"} {
			if err := os.Remove(filepath.Join(dir, strings.TrimSuffix(info.Name(), ".dat")+ext)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if dropped == 0 {
		t.Fatalf("found no segment with messages under %s", broker)
	}
	return dropped
}
