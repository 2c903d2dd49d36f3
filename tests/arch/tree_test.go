// Package arch keeps the shape of the tree: who may import whom, who owns what, and that released event
// shapes stay as they are. It reads the sources with the standard library alone, so it works even when
// they do not compile.
package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/agentos-kernel/agentos"
)

// file is one Go source file of the repository.
type file struct {
	path      string // from the repository's root, with slashes
	dir       string
	test      bool
	generated bool
	lines     int
	pkg       string
	imports   []string
	ast       *ast.File
}

// sources parses every Go file of the module.
func sources(t *testing.T) []*file {
	t.Helper()
	var files []*file
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parse(fset, path)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d Go files found: the test looks in the wrong place", len(files))
	}
	return files
}

func parse(fset *token.FileSet, path string) (*file, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	parsed, err := parser.ParseFile(fset, path, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return nil, err
	}
	f := &file{
		path: filepath.ToSlash(rel), dir: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(path, "_test.go"),
		generated: ast.IsGenerated(parsed), lines: strings.Count(string(src), "\n"), pkg: parsed.Name.Name, ast: parsed,
	}
	for _, spec := range parsed.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		f.imports = append(f.imports, name)
	}
	return f, nil
}

// in reports whether the file lies in a folder or below it.
func (f *file) in(dir string) bool { return f.dir == dir || strings.HasPrefix(f.dir, dir+"/") }

// own is the part of an import path behind the module's, and whether it is of this module.
func own(path string) (string, bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

// below reports whether a package of this module is dir or lies below it.
func below(path, dir string) bool {
	p, ok := own(path)
	return ok && (p == dir || strings.HasPrefix(p, dir+"/"))
}

// std reports whether an import is of the standard library: its first element has no dot.
func std(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// testHelper reports whether a folder is a package made for tests: testkit, or named …test.
func testHelper(dir string) bool {
	for part := range strings.SplitSeq(dir, "/") {
		if part == "testkit" || (strings.HasSuffix(part, "test") && part != "test") {
			return true
		}
	}
	return strings.HasPrefix(dir, "tests/") || dir == "tests"
}

var coreDir = regexp.MustCompile(`^services/[^/]+/internal/core(/|$)`)

// serviceOf is the service a folder belongs to, or "".
func serviceOf(dir string) string {
	rest, ok := strings.CutPrefix(dir, "services/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}
