package arch

import (
	"go/ast"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What a Definition says it uses is what its handlers look at: a kind that is left out would be passed over
// in a newer version, one too many would stall the service for nothing.
func TestUsesIsWhatHandlersLookAt(t *testing.T) {
	t.Parallel()
	files := sources(t)
	services := 0
	for _, f := range files {
		service := serviceOf(f.dir)
		def := definition(f.ast)
		if service == "" || f.test || def == nil || def["Uses"] == nil {
			continue
		}
		services++
		consumed := selectors(def["Consumes"], nil)
		uses := selectors(def["Uses"], families(f.ast))
		looked := map[string]bool{}
		for _, h := range files {
			if serviceOf(h.dir) == service && !h.test && (h.dir == f.dir || path.Base(h.dir) == "handle") {
				maps.Copy(looked, lookedAt(h.ast))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(looked)) {
			family, _, _ := strings.Cut(name, ".")
			if isConsumed(consumed, family) && !uses[name] {
				t.Errorf("%s: a handler looks at %s, which Definition.Uses does not name", f.path, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(uses)) {
			if !looked[name] {
				t.Errorf("%s: Definition.Uses names %s, at which no handler looks", f.path, name)
			}
		}
	}
	if services < 4 {
		t.Errorf("%d services say what they use, want at least 4", services)
	}
}

// definition is the fields of the file's service.Definition literal, or nil.
func definition(f *ast.File) map[string]ast.Expr {
	var fields map[string]ast.Expr
	ast.Inspect(f, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		if typ, ok := lit.Type.(*ast.SelectorExpr); !ok || typ.Sel.Name != "Definition" {
			return true
		}
		fields = map[string]ast.Expr{}
		for _, el := range lit.Elts {
			if kv, ok := el.(*ast.KeyValueExpr); ok {
				if key, ok := kv.Key.(*ast.Ident); ok {
					fields[key.Name] = kv.Value
				}
			}
		}
		return false
	})
	return fields
}

// families is the event packages a file imports, by the name it uses: "contextevents" → "context".
func families(f *ast.File) map[string]string {
	out := map[string]string{}
	for _, imp := range f.Imports {
		p, err := strconv.Unquote(imp.Path.Value)
		if err != nil || path.Dir(p) != module+"/events" {
			continue
		}
		name := path.Base(p)
		if imp.Name != nil {
			name = imp.Name.Name
		}
		out[name] = path.Base(p)
	}
	return out
}

// selectors is the pkg.Name below a node; with packages only those of them, by their own names.
func selectors(n ast.Node, packages map[string]string) map[string]bool {
	out := map[string]bool{}
	ast.Inspect(n, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); ok {
			name := pkg.Name
			if packages != nil {
				if name = packages[name]; name == "" {
					return true
				}
			}
			out[name+"."+sel.Sel.Name] = true
		}
		return true
	})
	return out
}

// lookedAt is the facts a file asks for in type switches, with something to do about them, and in type
// assertions.
func lookedAt(f *ast.File) map[string]bool {
	out := map[string]bool{}
	packages := families(f)
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CaseClause:
			if !idle(n.Body) {
				for _, e := range n.List {
					if _, ok := e.(*ast.SelectorExpr); ok {
						maps.Copy(out, selectors(e, packages))
					}
				}
			}
		case *ast.TypeAssertExpr:
			if n.Type != nil {
				maps.Copy(out, selectors(n.Type, packages))
			}
		}
		return true
	})
	maps.DeleteFunc(out, func(name string, _ bool) bool { return strings.HasSuffix(name, ".Event") })
	return out
}

// idle reports whether a case does nothing: it has no statement, or only returns what it was given.
func idle(body []ast.Stmt) bool {
	if len(body) != 1 {
		return len(body) == 0
	}
	ret, ok := body[0].(*ast.ReturnStmt)
	return ok && !slices.ContainsFunc(ret.Results, func(e ast.Expr) bool {
		_, plain := e.(*ast.Ident)
		return !plain
	})
}

// isConsumed reports whether a list of constants such as events.LLM has the family's.
func isConsumed(consumed map[string]bool, family string) bool {
	for name := range consumed {
		if strings.EqualFold(strings.TrimPrefix(name, "events."), family) {
			return true
		}
	}
	return false
}
