package cassette

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// Library finds cassettes by name in folders and keeps them in memory. A file that changes is read
// again when it is asked for next. It is safe for concurrent use.
type Library struct {
	folders []string

	mu     sync.Mutex
	loaded map[string]loaded // by path
	paths  map[string]string // of cassettes whose file has another name, by name
}

type loaded struct {
	modified time.Time
	size     int64
	index    *Index
}

// NewLibrary looks in folders, in this order. A folder that does not exist holds nothing.
func NewLibrary(folders ...string) *Library {
	return &Library{folders: slices.Clone(folders), loaded: map[string]loaded{}, paths: map[string]string{}}
}

// Entry is one cassette of a library.
type Entry struct {
	Name   string // of the header; of the file when the header cannot be read
	Path   string
	Header Header
	Err    error // why the header cannot be read; nil when it can
}

// extensions are the endings of a cassette's file name, in the order they are tried.
func extensions() []string { return []string{".jsonl", ".jsonl.gz"} }

// Get is the index of the cassette with this name in its header, from the first folder that has one. The
// name must be a plain file name. It is found quickest in a file called NAME.jsonl or NAME.jsonl.gz.
// Errors: Invalid, NotFound.
func (l *Library) Get(name string) (*Index, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	for _, folder := range l.folders {
		for _, ext := range extensions() {
			index, err := l.at(filepath.Join(folder, name+ext), name)
			if index != nil || err != nil {
				return index, err
			}
		}
	}
	l.mu.Lock()
	path, known := l.paths[name]
	l.mu.Unlock()
	if known {
		if index, err := l.at(path, name); index != nil || err != nil {
			return index, err
		}
	}
	for _, e := range l.List() {
		if e.Name == name && e.Err == nil {
			l.mu.Lock()
			l.paths[name] = e.Path
			l.mu.Unlock()
			if index, err := l.at(e.Path, name); index != nil || err != nil {
				return index, err
			}
		}
	}
	return nil, fault.Newf(fault.NotFound, "cassette.get", "there is no cassette %q", name).
		WithFix(fmt.Sprintf("put %s.jsonl or %s.jsonl.gz into one of: %s", name, name, strings.Join(l.folders, ", ")))
}

// at is the cassette in a file, or nil when there is no such file or it holds another one.
func (l *Library) at(path, name string) (*Index, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no cassette here is neither a value nor an error
	}
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "cassette.get", "the cassette cannot be looked at", err)
	}
	index, err := l.load(path, info)
	if err != nil || index.cassette.Header.Name != name {
		return nil, err
	}
	return index, nil
}

func (l *Library) load(path string, info fs.FileInfo) (*Index, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have, ok := l.loaded[path]; ok && have.size == info.Size() && have.modified.Equal(info.ModTime()) {
		return have.index, nil
	}
	c, err := Open(path)
	if err != nil {
		return nil, err
	}
	index, err := NewIndex(c)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", path, err)
	}
	l.loaded[path] = loaded{modified: info.ModTime(), size: info.Size(), index: index}
	return index, nil
}

// List names the cassettes of all folders, sorted; of two with the same name only the one Get gives.
// Only headers are read. An entry that cannot be read carries its error.
func (l *Library) List() []Entry {
	var entries []Entry
	seen := map[string]bool{}
	for _, folder := range l.folders {
		for _, ext := range extensions() {
			paths, err := filepath.Glob(filepath.Join(escapeGlob(folder), "*"+ext))
			if err != nil {
				continue // the pattern is escaped: Glob has no other error
			}
			for _, path := range paths {
				header, err := readHeader(path)
				name := header.Name
				if err != nil {
					name = strings.TrimSuffix(filepath.Base(path), ext)
				}
				if checkName(name) != nil || seen[name] {
					continue
				}
				seen[name] = true
				entries = append(entries, Entry{Name: name, Path: path, Header: header, Err: err})
			}
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries
}

func readHeader(path string) (_ Header, err error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return Header{}, fault.Wrap(fault.Unavailable, "cassette.list", "the cassette file cannot be opened", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s, err := newScanner(f)
	if err != nil {
		return Header{}, err
	}
	return s.header()
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// checkName keeps a name inside its folder: letters, digits, dot, dash and underscore, not hidden.
func checkName(name string) error {
	ok := name != "" && len(name) <= 128 && name[0] != '.'
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			r == '-' || r == '_' || r == '.')
	}
	if !ok {
		return fault.Newf(fault.Invalid, "cassette.name", "%q is not a cassette name", excerpt(name)).
			WithFix("use letters, digits, '-', '_' and '.', at most 128 of them")
	}
	return nil
}
