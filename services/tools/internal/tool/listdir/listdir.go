// Package listdir is the tool "list_dir": what is in one folder of the workspace.
//
// Arguments: {"path": "…"}, relative to the workspace; without it the workspace itself.
//
// Result: one line per entry, sorted by name (bytewise), joined by "\n" without one at the end:
//
//	data.csv<TAB>1024     a file: name, a tab, size in bytes
//	notes/                a folder: name and a slash, no tab
//	latest@               a symbolic link: name and an at sign; it is not followed
//	pipe|                 anything else (FIFO, socket, device)
//
// Hidden entries are listed. A name with control characters or invalid UTF-8 is written as a Go string
// in quotes. An empty folder gives "(empty)". Folders of more than 5,000 entries are refused.
package listdir

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/agentos-kernel/agentos/events/chat"
	toolevent "github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
	"github.com/agentos-kernel/agentos/services/tools/internal/workspace"
)

// Name is what the model calls the tool.
const Name = "list_dir"

const (
	maxEntries = 5000
	batch      = 500 // entries between two looks at ctx
)

// ListDir is the tool. The zero value is ready.
type ListDir struct{}

type arguments struct {
	Path string `json:"path"`
}

// Spec implements [tool.Tool].
func (ListDir) Spec() chat.ToolSpec {
	return chat.ToolSpec{
		Name:        Name,
		Description: "Lists a folder of the workspace: names and sizes in bytes; folders end in a slash.",
		Parameters: json.RawMessage(`{"type":"object","properties":{` +
			`"path":{"type":"string","description":"relative to the workspace; default: the workspace itself"}},` +
			`"additionalProperties":false}`),
	}
}

// Class implements [tool.Tool]: listing changes nothing.
func (ListDir) Class() string { return toolevent.Pure }

// Call implements [tool.Tool].
func (ListDir) Call(ctx context.Context, env tool.Env, args json.RawMessage) (string, error) {
	var a arguments
	if err := tool.Decode(args, &a); err != nil {
		return "", err
	}
	if a.Path == "" {
		a.Path = "."
	}
	root, err := env.Workspace()
	if err != nil {
		return "", err
	}
	defer root.Close()
	entries, err := read(ctx, root, a.Path)
	if err != nil {
		return "", err
	}
	if len(entries) == 0 {
		return "(empty)", nil
	}
	slices.SortFunc(entries, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	lines := make([]string, len(entries))
	for i, e := range entries {
		lines[i] = line(e)
	}
	return strings.Join(lines, "\n"), nil
}

// read lists a folder without following links in it. Entries that vanish meanwhile are left out.
func read(ctx context.Context, root *os.Root, path string) ([]fs.FileInfo, error) {
	if info, err := root.Stat(path); err != nil {
		return nil, workspace.Explain(path, err)
	} else if !info.IsDir() {
		return nil, fault.Newf(fault.Invalid, Name, "%q is not a folder", path).WithFix("Use read_file for files.")
	}
	// O_DIRECTORY and O_NONBLOCK: what was swapped in since Stat cannot hold us up.
	dir, err := root.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, workspace.Explain(path, err)
	}
	defer dir.Close()
	var entries []fs.FileInfo
	for {
		if err := ctx.Err(); err != nil {
			return nil, fault.Wrap(fault.Canceled, Name, "listing was stopped", err)
		}
		some, err := dir.Readdir(batch)
		entries = append(entries, some...)
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, workspace.Explain(path, err)
		}
		if len(entries) > maxEntries {
			return nil, fault.Newf(fault.Quota, Name, "%q has more than %d entries", path, maxEntries).
				WithFix("List a folder below it, or use search_text.")
		}
	}
}

func line(e fs.FileInfo) string {
	name := e.Name()
	if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		name = strconv.Quote(name)
	}
	switch mode := e.Mode(); {
	case mode.IsRegular():
		return name + "\t" + strconv.FormatInt(e.Size(), 10)
	case mode.IsDir():
		return name + "/"
	case mode&fs.ModeSymlink != 0:
		return name + "@"
	}
	return name + "|"
}
