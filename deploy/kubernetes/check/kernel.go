package main

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
)

// kernel is what the manifests must agree with, read from the repository.
type kernel struct {
	variables map[string]bool            // environment variables its sources name, and those of the Go runtime
	flags     map[string]map[string]bool // verb → its flags
	services  []string                   // what `agentos serve` can serve in a cluster
	metrics   map[string]bool
	readme    string // deploy/kubernetes/README.md
}

func readKernel(root string) (kernel, error) {
	k := kernel{variables: map[string]bool{"GOMEMLIMIT": true}, flags: map[string]map[string]bool{}, metrics: map[string]bool{}}
	for _, dir := range []string{"cmd/agentos", "libs", "services"} {
		if err := k.readSources(filepath.Join(root, dir)); err != nil {
			return k, err
		}
	}
	for _, verb := range []string{"serve", "keys", "migrate"} {
		text, err := os.ReadFile(filepath.Join(root, "cmd/agentos/testdata/help/agentos_"+verb+".txt"))
		if err != nil {
			return k, err
		}
		k.flags[verb] = map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+)`).FindAllStringSubmatch(string(text), -1) {
			k.flags[verb][m[1]] = true
		}
		if verb == "serve" {
			k.services = served(string(text))
		}
	}
	table, err := os.ReadFile(filepath.Join(root, "libs/telemetry/METRICS.md"))
	if err != nil {
		return k, err
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(agentos_[a-z_]+)`").FindAllStringSubmatch(string(table), -1) {
		k.metrics[m[1]] = true
	}
	text, err := os.ReadFile(filepath.Join(root, "deploy/kubernetes/README.md"))
	k.readme = string(text)
	return k, err
}

// served is the list on top of the help of `agentos serve`, without what only a single machine needs.
func served(help string) []string {
	list, _, _ := strings.Cut(help, ".\n")
	_, list, _ = strings.Cut(list, ":\n")
	var out []string
	for name := range strings.SplitSeq(list, ", ") {
		if name != "infra" {
			out = append(out, strings.TrimSpace(name))
		}
	}
	return out
}

// readSources collects the strings that look like names of variables.
func (k kernel) readSources(dir string) error {
	name := regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil && name.MatchString(text) {
					k.variables[text] = true
				}
			}
			return true
		})
		return nil
	})
}
