package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disks are the file systems in memory that the data of broker and database lie on, by victim.
type disks map[string]string

const (
	diskSize  = 1 << 30  // at most: it takes what is written
	diskSlack = 32 << 10 // left when one is full
)

// newDisks mounts them. Only root can.
func newDisks(t *testing.T, home string) disks {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a file system of its own takes root to mount")
	}
	d := disks{victimBroker: filepath.Join(home, "broker"), victimPostgres: filepath.Join(home, "postgres")}
	for _, dir := range d {
		if err := os.Mkdir(dir, 0o711); err != nil { //nolint:gosec // as infra makes it
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("mode=0711,size=%d", diskSize)); err != nil {
			t.Skipf("cannot mount a file system in memory: %v", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", dir, err)
			}
		})
	}
	return d
}

// fill shrinks a disk to what is on it, and enlarges it again after a while.
func (d disks) fill(f fault) error {
	dir := d[f.Victim]
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	used := (st.Blocks-st.Bfree)*uint64(st.Bsize) + diskSlack //nolint:gosec // a block size
	if err := resize(dir, used); err != nil {
		return err
	}
	time.Sleep(f.Hold)
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	fmt.Printf("              %d KiB were left\n", st.Bfree*uint64(st.Bsize)>>10) //nolint:gosec // a block size
	return resize(dir, diskSize)
}

func resize(dir string, size uint64) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		return fmt.Errorf("resize %s to %d bytes: %w", dir, size, err)
	}
	return nil
}
