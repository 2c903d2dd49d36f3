package backbone_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentos-kernel/agentos/tests/kernel"
)

// The broker is killed under load and loses the newest segment of every partition: what it had acknowledged
// and nobody had read yet is gone from it. The services find it in Postgres, by the gaps in the streams and
// by the sweep: every conversation ends as it was recorded.
func TestNewestSegmentsLostUnderLoad(t *testing.T) { //nolint:paralleltest // it wants the machine for itself
	s := kernel.Serve(t)
	for round := range 2 {
		work := kernel.StartDrive(t, s.Client, "segments", 12, 2*time.Minute)
		time.Sleep(300 * time.Millisecond)
		over := work.Over()
		s.Infra.Kill()
		dropped := dropSegments(t, filepath.Join(s.Home, "broker"))
		s.StartInfra(t)
		back := time.Now()
		work.Check(t, s.Client)
		t.Logf("round %d: %d segments lost (load over before: %v); everything was done %.1f s after the broker was back",
			round, dropped, over, time.Since(back).Seconds())
	}
	kernel.AuditVerified(t, s.Client)
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
