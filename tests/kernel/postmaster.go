package kernel

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Postmaster is the process id of the private database server of a data folder.
func Postmaster(home string) (pid int, err error) {
	err = filepath.WalkDir(filepath.Join(home, "postgres"), func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "postmaster.pid" {
			return err
		}
		raw, err := os.ReadFile(path) //nolint:gosec // a file of the test's own cluster
		if err != nil {
			return err
		}
		line, _, _ := strings.Cut(string(raw), "\n")
		pid, err = strconv.Atoi(strings.TrimSpace(line))
		return err
	})
	if err == nil && pid == 0 {
		err = os.ErrNotExist
	}
	return pid, err
}
