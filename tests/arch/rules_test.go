package arch

import (
	"go/parser"
	"go/token"
	"slices"
	"testing"
)

// The rules themselves: a checker that finds nothing would pass every test above.
func TestClockCalls(t *testing.T) {
	t.Parallel()
	src := `package core
import clock "time"
func f() { _ = clock.Now(); _ = clock.Second; clock.Sleep(1) }`
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := clockCalls(f); !slices.Equal(got, []string{"Now", "Sleep"}) {
		t.Errorf("got %v", got)
	}
}

func TestDefinedFamilies(t *testing.T) {
	t.Parallel()
	src := `package x
var d = service.Definition{Name: "x", Family: events.LLM, Consumes: []events.Family{events.Tool}}
var o = other{Family: events.Agent}`
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := definedFamilies(f); !slices.Equal(got, []string{"LLM"}) {
		t.Errorf("got %v", got)
	}
}

func TestPathRules(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]bool{
		"libs/testkit": true, "services/audit/internal/audittest": true, "tests/arch": true, "events/internal/goldentest": true,
		"services/audit": false, "libs/bus": false,
	} {
		if got := testHelper(dir); got != want {
			t.Errorf("testHelper(%s) = %v", dir, got)
		}
	}
	for path, want := range map[string]bool{"net/http": true, "github.com/x/y": false, "golang.org/x/mod": false, "os": true} {
		if got := std(path); got != want {
			t.Errorf("std(%s) = %v", path, got)
		}
	}
	if serviceOf("services/llm-gateway/internal/core") != "llm-gateway" || serviceOf("libs/service") != "" {
		t.Error("serviceOf")
	}
	if !below(module+"/events/agent", "events") || below(module+"/eventsx", "events") || below("events", "events") {
		t.Error("below")
	}
	if !coreDir.MatchString("services/a/internal/core") || coreDir.MatchString("services/a/internal/corex") {
		t.Error("coreDir")
	}
}
