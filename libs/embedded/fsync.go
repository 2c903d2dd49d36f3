package embedded

import (
	"os"
	"slices"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const fsyncRounds = 50

// FsyncLatency is the median time of appending 4 KiB and waiting until the data is on the disk (fdatasync),
// over 50 rounds in a file made and removed in dir. It is what one durable commit costs at least. A virtual disk
// with a write-back cache answers fast without proving that data survives a power loss.
func FsyncLatency(dir string) (time.Duration, error) {
	const op = "embedded.fsync"
	f, err := os.CreateTemp(dir, ".fsync-*")
	if err != nil {
		return 0, fault.Wrap(fault.Internal, op, "cannot create a file in "+dir, err).
			WithFix("Make the folder writable for this user.")
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4096)
	times := make([]time.Duration, 0, fsyncRounds)
	for range fsyncRounds {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, fault.Wrap(fault.Internal, op, "cannot write in "+dir, err).
				WithFix("Free space on the disk.")
		}
		if err := fdatasync(f); err != nil {
			return 0, fault.Wrap(fault.Internal, op, "cannot sync in "+dir, err)
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
