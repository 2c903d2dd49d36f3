package arch

import (
	"crypto/sha256"
	"encoding/hex"
	"go/ast"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxLines is the most lines a file of production code written by hand may have.
const maxLines = 500

func TestFilesAreShort(t *testing.T) {
	t.Parallel()
	for _, f := range sources(t) {
		if !f.test && !f.generated && f.lines > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it by what it is about", f.path, f.lines, maxLines)
		}
	}
}

// A released event keeps its bytes for ever, and so does a recorded history: each golden and each history is
// in the list with its checksum, and each line of the list has its file.
func TestGoldensNeverChange(t *testing.T) {
	t.Parallel()
	const fix = "; if the event is new, run `go generate ./events/catalog`; a changed shape is a new version"
	data, err := os.ReadFile("goldens.sum")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	last := ""
	for line := range strings.Lines(string(data)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || name <= last {
			t.Fatalf("goldens.sum: bad or unsorted line %q", line)
		}
		listed[name], last = sum, name
	}
	var files []string
	for _, pattern := range []string{"events/*/testdata/*.json", "libs/service/foldtest/histories/*.jsonl.gz"} {
		some, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil || len(some) == 0 {
			t.Fatalf("%s: %d files, err %v", pattern, len(some), err)
		}
		files = append(files, some...)
	}
	found := map[string]string{}
	for _, path := range files {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(body)
		found[filepath.ToSlash(rel)] = hex.EncodeToString(sum[:])
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		switch found[name] {
		case listed[name]:
		case "":
			t.Errorf("%s is gone: stored events of this shape could no longer be read", name)
		default:
			t.Errorf("%s has changed%s", name, fix)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if listed[name] == "" {
			t.Errorf("%s is not in goldens.sum%s", name, fix)
		}
	}
}

// Every family, and so every topic, has exactly one service that writes it.
func TestEveryFamilyHasOneOwner(t *testing.T) {
	t.Parallel()
	files := sources(t)
	families := familyConstants(t, files)
	owners := map[string][]string{} // constant name → services
	for _, f := range files {
		if service := serviceOf(f.dir); service != "" && !f.test && !testHelper(f.dir) {
			for _, family := range definedFamilies(f.ast) {
				if !slices.Contains(owners[family], service) {
					owners[family] = append(owners[family], service)
				}
			}
		}
	}
	kinds, err := filepath.Glob(filepath.Join(root, "events", "*", "testdata", "*.json"))
	if err != nil || len(kinds) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, path := range kinds {
		family, _, _ := strings.Cut(filepath.Base(path), ".")
		if !slices.Contains(slices.Collect(maps.Values(families)), family) {
			t.Errorf("%s belongs to no family: nobody carries it", path)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if got := owners[name]; len(got) != 1 {
			t.Errorf("topic agentos.%s must have exactly one owner: a service whose Definition says Family: events.%s; it has %v",
				families[name], name, got)
		}
	}
}

// familyConstants is the constants of type Family in events.go: name → value.
func familyConstants(t *testing.T, files []*file) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, f := range files {
		if f.dir != "events" || f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Family" && len(spec.Values) == 1 {
				if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
					out[spec.Names[0].Name] = strings.Trim(lit.Value, `"`)
				}
			}
			return true
		})
	}
	if len(out) == 0 {
		t.Fatal("no families found in events/events.go")
	}
	return out
}

// definedFamilies lists the events.X of `Family: events.X` in literals of service.Definition.
func definedFamilies(f *ast.File) []string {
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		if typ, ok := lit.Type.(*ast.SelectorExpr); !ok || typ.Sel.Name != "Definition" {
			return true
		}
		for _, el := range lit.Elts {
			kv, ok := el.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			key, isIdent := kv.Key.(*ast.Ident)
			value, isSel := kv.Value.(*ast.SelectorExpr)
			if isIdent && isSel && key.Name == "Family" {
				out = append(out, value.Sel.Name)
			}
		}
		return true
	})
	return out
}
