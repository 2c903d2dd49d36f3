// Package readfile is the tool "read_file": text of one file of the workspace.
//
// Arguments: {"path": "…", "offset": 1, "limit": 100}. The path is relative to the workspace; offset is
// the first line wanted, from 1 (default 1); limit is how many lines (default: to the end).
//
// Result: the bytes of those lines as they are in the file, line endings included, nothing added. An
// empty file gives an empty result. What goes beyond the output limit (64 KiB by default) is cut and
// the result ends in the line "[output cut at N bytes: ask for less]". Folders, special files and files
// with NUL bytes (binary ones) are refused, and so is an offset behind the last line.
package readfile

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/agentos-kernel/agentos/events/chat"
	toolevent "github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
	"github.com/agentos-kernel/agentos/services/tools/internal/workspace"
)

// Name is what the model calls the tool.
const Name = "read_file"

// ReadFile is the tool. The zero value is ready.
type ReadFile struct{}

type arguments struct {
	Path   string `json:"path"`
	Offset int    `json:"offset"`
	Limit  int    `json:"limit"`
}

// Spec implements [tool.Tool].
func (ReadFile) Spec() chat.ToolSpec {
	return chat.ToolSpec{
		Name:        Name,
		Description: "Reads a text file of the workspace. Use offset and limit, in lines, for a part of a long file.",
		Parameters: json.RawMessage(`{"type":"object","properties":{` +
			`"path":{"type":"string","minLength":1,"description":"relative to the workspace"},` +
			`"offset":{"type":"integer","minimum":1,"description":"first line, from 1"},` +
			`"limit":{"type":"integer","minimum":1,"description":"number of lines"}},` +
			`"required":["path"],"additionalProperties":false}`),
	}
}

// Class implements [tool.Tool]: reading changes nothing.
func (ReadFile) Class() string { return toolevent.Pure }

// Call implements [tool.Tool].
func (ReadFile) Call(ctx context.Context, env tool.Env, args json.RawMessage) (_ string, err error) {
	var a arguments
	if err := tool.Decode(args, &a); err != nil {
		return "", err
	}
	root, err := env.Workspace()
	if err != nil {
		return "", err
	}
	defer root.Close()
	f, err := workspace.OpenRegular(root, a.Path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var out strings.Builder
	first, last := max(a.Offset, 1), 0
	seen := 0
	if a.Limit > 0 {
		last = first + a.Limit - 1
	}
	err = workspace.Lines(ctx, f, a.Path, func(number int, piece []byte) bool {
		if last > 0 && number > last {
			return false
		}
		seen = number
		if number >= first {
			out.Write(piece)
		}
		return out.Len() <= env.OutputLimit
	})
	if err != nil {
		return "", err
	}
	if seen < first && first > 1 {
		return "", fault.Newf(fault.Invalid, Name, "%q has only %d lines", a.Path, seen).WithFix("Use a smaller offset.")
	}
	return out.String(), nil
}
