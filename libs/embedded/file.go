package embedded

import (
	"errors"
	"os"
	"path/filepath"
)

// writeFileAtomic replaces path by data so that a reader, or a start after a crash, sees the old or the new
// content and never a part. The file's mode is 0600.
func writeFileAtomic(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// errWith adds the failure of a clean-up to err without losing err's kind.
func errWith(err, cleanup error) error {
	if cleanup == nil {
		return err
	}
	return errors.Join(err, cleanup)
}
