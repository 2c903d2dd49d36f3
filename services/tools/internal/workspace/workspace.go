// Package workspace reads files of an agent's workspace without leaving it and without being held up.
//
// Confinement is os.Root's alone: it refuses absolute paths, "..", and symbolic links that lead outside,
// at the moment of opening. Nothing here compares path strings.
package workspace

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const op = "workspace"

// OpenRegular opens an existing regular file for reading. Anything else (a folder, a FIFO, a device, a
// socket) is refused before it is opened, and opening never waits for a writer at the other end.
func OpenRegular(root *os.Root, path string) (*os.File, error) {
	info, err := root.Stat(path)
	if err != nil {
		return nil, Explain(path, err)
	}
	if err := mustBeRegular(path, info); err != nil {
		return nil, err
	}
	// The file may have been swapped since Stat: O_NONBLOCK keeps a FIFO from holding us up.
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, Explain(path, err)
	}
	if info, err = f.Stat(); err == nil {
		err = mustBeRegular(path, info)
	}
	if err != nil {
		return nil, errors.Join(Explain(path, err), f.Close())
	}
	return f, nil
}

func mustBeRegular(path string, info fs.FileInfo) error {
	switch {
	case info.Mode().IsRegular():
		return nil
	case info.IsDir():
		return fault.Newf(fault.Invalid, op, "%q is a folder", path).WithFix("Name a file in it; list_dir shows them.")
	}
	return fault.Newf(fault.Denied, op, "%q is not a regular file", path).WithFix("Use a regular file.")
}

// Explain turns an error of os.Root about path into one a model can act on. A *fault.Error stays as it is.
func Explain(path string, err error) error {
	var known *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(fault.Canceled, op, "the call was stopped", err)
	case path == "":
		return fault.New(fault.Invalid, op, "the path is empty").WithFix("Name a file.")
	case errors.Is(err, fs.ErrNotExist):
		return fault.Newf(fault.NotFound, op, "%q does not exist", path).WithFix("Use list_dir to see what there is.")
	case escapes(err):
		return fault.Newf(fault.Denied, op, "%q is outside the workspace", path).
			WithFix("Use a path relative to the workspace, without leaving it.")
	case errors.Is(err, fs.ErrPermission):
		return fault.Newf(fault.Denied, op, "%q may not be opened", path).WithFix("Use another file.")
	case errors.Is(err, syscall.ENOTDIR):
		return fault.Newf(fault.Invalid, op, "a part of %q is not a folder", path).WithFix("Use list_dir to see what there is.")
	case errors.Is(err, syscall.EISDIR):
		return fault.Newf(fault.Invalid, op, "%q is a folder", path).WithFix("Name a file.")
	case errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ELOOP):
		return fault.Newf(fault.Invalid, op, "%q is not a usable path", path).WithFix("Use a short, plain path.")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.Newf(fault.Quota, op, "there is no space left for %q", path).WithFix("Write less.")
	}
	return fault.Wrap(fault.Internal, op, "the file system failed", err).WithFix("Go on without this file.")
}

// escapes reports os.Root's refusal. The package does not export the error, so its text must do; a text
// that changed would still be a refusal, only worded as a failure.
func escapes(err error) bool {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return strings.Contains(path.Err.Error(), "escapes from parent")
	}
	var link *os.LinkError
	return errors.As(err, &link) && strings.Contains(link.Err.Error(), "escapes from parent")
}

// SniffBytes is how much of a file's beginning decides whether it is text.
const SniffBytes = 8 << 10

// Binary reports whether a piece of a file cannot be text. Only NUL decides: it is in practically every
// binary format and in no text encoding a model can read.
func Binary(piece []byte) bool { return bytes.IndexByte(piece, 0) >= 0 }
