// Package writefile is the tool "write_file": a whole text file written into the workspace.
//
// Arguments: {"path": "…", "content": "…"}. The path is relative to the workspace; missing folders on
// it are made. What is there already is replaced as a whole.
//
// Result: "wrote N bytes to PATH", PATH as it was given, no newline.
//
// The tool is idempotent: content goes to a temporary file beside the target, is flushed to disk and
// renamed onto it, so that a crash leaves the old file or the new one, and running the call again
// gives the same. The temporary file is named after call and attempt; a later attempt removes those of
// the earlier ones. Targets that are links, folders or special files are refused.
package writefile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"

	"github.com/agentos-kernel/agentos/events/chat"
	toolevent "github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
	"github.com/agentos-kernel/agentos/services/tools/internal/workspace"
)

// Name is what the model calls the tool.
const Name = "write_file"

const (
	newFile   fs.FileMode = 0o644
	newFolder fs.FileMode = 0o755
	piece                 = 256 << 10 // bytes between two looks at ctx
)

// WriteFile is the tool. The zero value is ready.
type WriteFile struct{}

type arguments struct {
	Path    string `json:"path"`
	Content string `json:"content"`
}

// Spec implements [tool.Tool].
func (WriteFile) Spec() chat.ToolSpec {
	return chat.ToolSpec{
		Name:        Name,
		Description: "Writes a text file of the workspace, replacing what was there. Missing folders are made.",
		Parameters: json.RawMessage(`{"type":"object","properties":{` +
			`"path":{"type":"string","minLength":1,"description":"relative to the workspace"},` +
			`"content":{"type":"string","description":"the whole content of the file"}},` +
			`"required":["path","content"],"additionalProperties":false}`),
	}
}

// Class implements [tool.Tool].
func (WriteFile) Class() string { return toolevent.Idempotent }

// Call implements [tool.Tool].
func (WriteFile) Call(ctx context.Context, env tool.Env, args json.RawMessage) (string, error) {
	var a arguments
	if err := tool.Decode(args, &a); err != nil {
		return "", err
	}
	root, err := env.Workspace()
	if err != nil {
		return "", err
	}
	defer root.Close()
	mode, err := replaceable(root, a.Path)
	if err != nil {
		return "", err
	}
	folder := path.Dir(a.Path)
	if err := root.MkdirAll(folder, newFolder); err != nil {
		return "", workspace.Explain(a.Path, err)
	}
	for attempt := 1; attempt < env.Attempt; attempt++ {
		err := root.Remove(path.Join(folder, temporary(env.CallID, attempt)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", workspace.Explain(a.Path, err)
		}
	}
	draft := path.Join(folder, temporary(env.CallID, env.Attempt))
	if err := replace(ctx, root, draft, a, mode); err != nil {
		// The draft is ours alone; that it cannot be removed either is not what went wrong.
		_ = root.Remove(draft)
		return "", workspace.Explain(a.Path, err)
	}
	if err := syncFolder(root, folder); err != nil {
		return "", workspace.Explain(a.Path, err)
	}
	return fmt.Sprintf("wrote %d bytes to %s", len(a.Content), a.Path), nil
}

// replaceable is the mode the new file gets: that of the regular file it replaces, or the default.
func replaceable(root *os.Root, name string) (fs.FileMode, error) {
	info, err := root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return newFile, nil
	case err != nil:
		return 0, workspace.Explain(name, err)
	case info.Mode().IsRegular():
		return info.Mode().Perm(), nil
	case info.IsDir():
		return 0, fault.Newf(fault.Invalid, Name, "%q is a folder", name).WithFix("Name a file in it.")
	case info.Mode()&fs.ModeSymlink != 0:
		return 0, fault.Newf(fault.Denied, Name, "%q is a link", name).WithFix("Write to the file it leads to, or to another name.")
	}
	return 0, fault.Newf(fault.Denied, Name, "%q is not a regular file", name).WithFix("Write to another name.")
}

func temporary(callID string, attempt int) string {
	sum := sha256.Sum256([]byte(callID))
	return ".agentos-" + hex.EncodeToString(sum[:8]) + "-" + strconv.Itoa(attempt) + ".tmp"
}

func replace(ctx context.Context, root *os.Root, draft string, a arguments, mode fs.FileMode) (err error) {
	f, err := root.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err //nolint:wrapcheck // explained by the caller
	}
	for rest := a.Content; err == nil && rest != ""; {
		n := min(len(rest), piece)
		if _, err = f.WriteString(rest[:n]); err == nil {
			rest, err = rest[n:], ctx.Err()
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fault.Wrap(fault.Canceled, Name, "writing was stopped; the file is as it was", ctx.Err())
	}
	return root.Rename(draft, a.Path) //nolint:wrapcheck // explained by the caller
}

// syncFolder makes the rename last: without it a power cut could bring the old file back after the call
// was told as finished.
func syncFolder(root *os.Root, folder string) error {
	dir, err := root.Open(folder)
	if err != nil {
		return err //nolint:wrapcheck // explained by the caller
	}
	return errors.Join(dir.Sync(), dir.Close())
}
