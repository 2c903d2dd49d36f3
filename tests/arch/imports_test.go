package arch

import (
	"go/ast"
	"strings"
	"testing"
)

// The contract depends on nothing: everything else depends on it.
func TestEventsImportOnlyStd(t *testing.T) {
	t.Parallel()
	for _, f := range sources(t) {
		if f.test || !f.in("events") {
			continue
		}
		for _, imp := range f.imports {
			if !std(imp) && !below(imp, "events") {
				t.Errorf("%s imports %s: events may use the standard library and events only", f.path, imp)
			}
		}
	}
}

// Mechanisms know no business.
func TestLibsNeverImportServices(t *testing.T) {
	t.Parallel()
	for _, f := range sources(t) {
		if !f.in("libs") {
			continue
		}
		for _, imp := range f.imports {
			if below(imp, "services") || below(imp, "cmd") {
				t.Errorf("%s imports %s: libs never import services or commands", f.path, imp)
			}
		}
	}
}

// Services speak through events only.
func TestServicesStandAlone(t *testing.T) {
	t.Parallel()
	for _, f := range sources(t) {
		me := serviceOf(f.dir)
		if me == "" {
			continue
		}
		for _, imp := range f.imports {
			p, ok := own(imp)
			if !ok {
				continue
			}
			if other := serviceOf(p); below(imp, "cmd") || (other != "" && other != me) {
				t.Errorf("%s imports %s: a service uses events, libs and api, never another service", f.path, imp)
			}
		}
	}
}

// A core is pure: no clock, no chance, no world.
func TestCoresArePure(t *testing.T) {
	t.Parallel()
	refused := []string{"net", "os", "log", "database/sql", "math/rand", "crypto/rand", "syscall", "testing", "unsafe", "io/ioutil", "plugin"}
	cores := 0
	for _, f := range sources(t) {
		if f.test || !coreDir.MatchString(f.dir) {
			continue
		}
		cores++
		for _, imp := range f.imports {
			ok := std(imp) || below(imp, "events") || below(imp, "libs/fault") ||
				(serviceOf(f.dir) != "" && below(imp, "services/"+serviceOf(f.dir)+"/internal/core"))
			for _, bad := range refused {
				ok = ok && imp != bad && !strings.HasPrefix(imp, bad+"/")
			}
			if !ok {
				t.Errorf("%s imports %s: a core uses a part of the standard library, events and libs/fault", f.path, imp)
			}
		}
		for _, call := range clockCalls(f.ast) {
			t.Errorf("%s uses time.%s: time comes in with the command", f.path, call)
		}
	}
	if cores == 0 {
		t.Error("no core found: the test looks in the wrong place")
	}
}

// clockCalls lists the functions of package time that read the clock or wait.
func clockCalls(f *ast.File) []string {
	name := ""
	for _, spec := range f.Imports {
		if spec.Path.Value == `"time"` {
			name = "time"
			if spec.Name != nil {
				name = spec.Name.Name
			}
		}
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || name == "" {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == name {
			switch sel.Sel.Name {
			case "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker":
				out = append(out, sel.Sel.Name)
			}
		}
		return true
	})
	return out
}

// What is made for tests stays out of what is shipped. The benchmarks are not: they measure on the real
// Kafka that the tests run.
func TestNoTestCodeInPrograms(t *testing.T) {
	t.Parallel()
	for _, f := range sources(t) {
		if f.test || testHelper(f.dir) || f.dir == "bench" {
			continue
		}
		for _, imp := range f.imports {
			p, mine := own(imp)
			if imp == "testing" || strings.HasPrefix(imp, "testing/") && imp != "testing/fstest" || strings.Contains(imp, "stretchr/testify") || (mine && testHelper(p)) {
				t.Errorf("%s imports %s: test code lives in _test.go files and packages named …test or testkit", f.path, imp)
			}
		}
	}
}
