// Command gen writes everything that follows from the event types: golden files, their checksum list,
// JSON Schemas, the catalogue and the AsyncAPI document. Its output depends on nothing but the sources.
//
// A golden file is written once. When an example has fields more than its newest golden, the next golden
// is added; when it differs in any other way, gen refuses: a changed shape is a new version. Only while a
// kind is not yet released may its goldens be written anew, with -unreleased.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/catalog"
)

func main() {
	unreleased := flag.Bool("unreleased", false, "write goldens anew; only for kinds nobody has stored yet")
	flag.Parse()
	if err := run(*unreleased); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(unreleased bool) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	types := catalog.Types()
	docs, err := readDocs(root)
	if err != nil {
		return err
	}
	if err := writeGoldens(root, types, unreleased); err != nil {
		return err
	}
	if err := writeSchemas(root, types, docs); err != nil {
		return err
	}
	if err := write(root, "events/CATALOG.md", catalogue(types, docs)); err != nil {
		return err
	}
	return write(root, "events/asyncapi.yaml", asyncAPI(types))
}

// moduleRoot is the nearest folder upwards that has a go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working folder; run it inside the repository")
		}
		dir = parent
	}
}

func write(root, name string, data []byte) error {
	path := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // sources are for all to read
		return err
	}
	return os.WriteFile(path, data, 0o644) //nolint:gosec // sources are for all to read
}

// owner is the service that alone writes a family.
func owner(f events.Family) string {
	switch f {
	case events.Agent:
		return "scheduler"
	case events.LLM:
		return "llm-gateway"
	case events.Tool:
		return "tools"
	case events.Context, events.Audit, events.Learning:
		return string(f)
	}
	return string(f)
}

func ofFamily(types []events.Type, f events.Family) []events.Type {
	var out []events.Type
	for _, t := range types {
		if events.FamilyOf(t.Kind) == f {
			out = append(out, t)
		}
	}
	return out
}
