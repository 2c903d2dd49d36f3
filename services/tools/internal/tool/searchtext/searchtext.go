// Package searchtext is the tool "search_text": lines of the workspace that match a pattern.
//
// Arguments: {"pattern": "…", "path": "…", "max": 100}. The pattern is an RE2 regular expression, matched
// against each line; path is a file or a folder, searched with all below it (default: the workspace);
// max is the number of matches wanted, 1 to 1,000 (default 100).
//
// Result: one line per match, files in bytewise order of their paths' parts, joined by "\n" without one at
// the end:
//
//	notes/plan.txt:12: the line without its line ending
//
// The path is relative to the workspace, then the line's number from 1, then the line. Lines longer than
// 400 bytes are cut there and end in "…". Without a match the result is "no matches". When there are more
// matches than max, a last line says "[more matches: narrow the pattern or raise max]". Files left out
// (binary, larger than 16 MiB, unreadable) are counted in a last line "[left out: N files …]" when there
// are any. Links are not followed, special files are not opened.
package searchtext

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/agentos-kernel/agentos/events/chat"
	toolevent "github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
	"github.com/agentos-kernel/agentos/services/tools/internal/workspace"
)

// Name is what the model calls the tool.
const Name = "search_text"

const (
	defaultMax   = 100
	maxPattern   = 1000     // bytes
	maxLine      = 400      // bytes shown of one line
	maxFileBytes = 16 << 20 // larger files are left out
	maxEntries   = 100_000  // entries of the tree looked at
)

// SearchText is the tool. The zero value is ready.
type SearchText struct{}

type arguments struct {
	Pattern string `json:"pattern"`
	Path    string `json:"path"`
	Max     int    `json:"max"`
}

// Spec implements [tool.Tool].
func (SearchText) Spec() chat.ToolSpec {
	return chat.ToolSpec{
		Name:        Name,
		Description: "Searches text files of the workspace with a regular expression (RE2), line by line. Returns path:line: text.",
		Parameters: json.RawMessage(`{"type":"object","properties":{` +
			`"pattern":{"type":"string","minLength":1,"maxLength":1000},` +
			`"path":{"type":"string","description":"file or folder, relative to the workspace; default: all of it"},` +
			`"max":{"type":"integer","minimum":1,"maximum":1000,"description":"matches wanted; default 100"}},` +
			`"required":["pattern"],"additionalProperties":false}`),
	}
}

// Class implements [tool.Tool]: searching changes nothing.
func (SearchText) Class() string { return toolevent.Pure }

// Call implements [tool.Tool].
func (SearchText) Call(ctx context.Context, env tool.Env, args json.RawMessage) (string, error) {
	var a arguments
	if err := tool.Decode(args, &a); err != nil {
		return "", err
	}
	if len(a.Pattern) > maxPattern {
		return "", fault.Newf(fault.Invalid, Name, "the pattern is longer than %d bytes", maxPattern).WithFix("Use a shorter one.")
	}
	pattern, err := regexp.Compile(a.Pattern)
	if err != nil {
		return "", fault.Newf(fault.Invalid, Name, "the pattern is not a regular expression: %s", reason(err)).
			WithFix(`Escape special characters with \ to search for them.`)
	}
	root, err := env.Workspace()
	if err != nil {
		return "", err
	}
	defer root.Close()
	s := search{root: root, pattern: pattern, limit: defaultMax, bytes: env.OutputLimit}
	if a.Max > 0 {
		s.limit = a.Max
	}
	if err := s.start(ctx, a.Path); err != nil {
		return "", err
	}
	return s.result(), nil
}

func reason(err error) string {
	return strings.TrimPrefix(err.Error(), "error parsing regexp: ")
}

// search is one run of the tool.
type search struct {
	root    *os.Root
	pattern *regexp.Regexp
	limit   int // matches
	bytes   int // of all lines, roughly
	entries int
	lines   []string
	size    int
	more    bool
	leftOut int
}

// start searches a file or walks a folder. What was asked for by name must be readable; what the walk
// meets is left out when it is not.
func (s *search) start(ctx context.Context, from string) error {
	if from == "" {
		from = "."
	}
	info, err := s.root.Stat(from)
	if err != nil {
		return workspace.Explain(from, err)
	}
	if !info.IsDir() {
		return s.file(ctx, from)
	}
	// path.Clean is for the shape of names in the result and for fs.FS, which wants clean paths;
	// whether the path stays inside is os.Root's business.
	err = fs.WalkDir(s.root.FS(), path.Clean(from), func(name string, d fs.DirEntry, err error) error {
		return s.visit(ctx, name, d, err)
	})
	if err != nil {
		return workspace.Explain(from, err)
	}
	return nil
}

func (s *search) visit(ctx context.Context, name string, d fs.DirEntry, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(fault.Canceled, Name, "the search was stopped", ctx.Err())
	}
	if s.entries++; s.entries > maxEntries {
		return fault.Newf(fault.Quota, Name, "there are more than %d files and folders", maxEntries).WithFix("Search one folder.")
	}
	if err != nil {
		s.leftOut++
		return nil //nolint:nilerr // counted, and told in the result
	}
	if !d.Type().IsRegular() {
		return nil
	}
	if info, err := d.Info(); err != nil || info.Size() > maxFileBytes {
		s.leftOut++
		return nil //nolint:nilerr // counted, and told in the result
	}
	if err := s.file(ctx, name); err != nil {
		if ctx.Err() != nil {
			return err
		}
		s.leftOut++
	}
	if s.more {
		return fs.SkipAll
	}
	return nil
}

func (s *search) file(ctx context.Context, name string) (err error) {
	f, err := workspace.OpenRegular(s.root, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	matched := 0
	return workspace.Lines(ctx, f, name, func(number int, piece []byte) bool {
		if matched == number || !s.pattern.Match(bytes.TrimRight(piece, "\r\n")) {
			return true
		}
		if len(s.lines) == s.limit || s.size > s.bytes {
			s.more = true
			return false
		}
		matched = number
		line := fmt.Sprintf("%s:%d: %s", name, number, shorten(bytes.TrimRight(piece, "\r\n")))
		s.lines = append(s.lines, line)
		s.size += len(line) + 1
		return true
	})
}

func shorten(line []byte) string {
	if len(line) <= maxLine {
		return strings.ToValidUTF8(string(line), "\uFFFD")
	}
	end := maxLine
	for end > 0 && !utf8.RuneStart(line[end]) {
		end--
	}
	return strings.ToValidUTF8(string(line[:end]), "\uFFFD") + "…"
}

func (s *search) result() string {
	lines := s.lines
	if len(lines) == 0 {
		lines = append(lines, "no matches")
	}
	if s.more {
		lines = append(lines, "[more matches: narrow the pattern or raise max]")
	}
	if s.leftOut > 0 {
		lines = append(lines, fmt.Sprintf("[left out: %d files that are binary, larger than 16 MiB or unreadable]", s.leftOut))
	}
	return strings.Join(lines, "\n")
}
