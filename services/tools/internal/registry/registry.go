// Package registry knows which tools there are: the built-ins and the tools of every cassette.
package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/agentos-kernel/agentos/events/chat"
	toolevent "github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/calculator"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/listdir"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/readfile"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/replay"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/searchtext"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool/writefile"
)

const (
	// Builtin is the name of the set of built-in tools.
	Builtin = "builtin"
	// ReplayPrefix begins the name of a cassette's set.
	ReplayPrefix = "replay/"
)

// Entry is one tool, ready to be checked and called.
type Entry struct {
	tool.Traits
	Tool   tool.Tool
	Schema *tool.Schema
	Layers []string // protection that is enforced around it
}

// Registry finds tools by name. It is safe for concurrent use.
type Registry struct {
	layers  []string // around every tool
	builtin []Entry
	library *cassette.Library

	mu    sync.Mutex
	ready map[string]replaySet // by cassette name
}

type replaySet struct {
	index   *cassette.Index
	entries []Entry
}

// New is the registry of the built-ins and of the cassettes in library. Limits are named in the layers
// of every tool.
func New(library *cassette.Library, limits tool.Limits) (*Registry, error) {
	r := &Registry{
		layers: []string{
			"json-schema",
			"time limit " + limits.Timeout.String(),
			"output limit " + size(limits.OutputBytes),
		},
		library: library, ready: map[string]replaySet{},
	}
	files := tool.Traits{Workspace: true}
	for _, b := range []struct {
		tool   tool.Tool
		traits tool.Traits
	}{
		{calculator.Calculator{}, tool.Traits{}},
		{listdir.ListDir{}, files},
		{readfile.ReadFile{}, files},
		{searchtext.SearchText{}, files},
		{writefile.WriteFile{}, files},
	} {
		e, err := r.entry(b.tool, b.traits)
		if err != nil {
			return nil, err
		}
		r.builtin = append(r.builtin, e)
	}
	return r, nil
}

func size(n int) string {
	if n%1024 == 0 {
		return fmt.Sprintf("%dKiB", n/1024)
	}
	return fmt.Sprintf("%dB", n)
}

func (r *Registry) entry(t tool.Tool, traits tool.Traits) (Entry, error) {
	schema, err := tool.CompileSchema(t.Spec())
	if err != nil {
		return Entry{}, err
	}
	layers := r.layers
	if traits.Workspace {
		layers = slices.Concat([]string{"os.Root workspace"}, layers)
	}
	return Entry{Traits: traits, Tool: t, Schema: schema, Layers: layers}, nil
}

// Resolve gives the tools a spawn names, by tool name: built-ins by their own name or all of them as
// "builtin", those of a cassette as "replay/NAME". Of two tools with one name the one named first
// counts. A name that leads nowhere gives nothing: what is not resolved is not granted.
func (r *Registry) Resolve(names []string) map[string]Entry {
	out := map[string]Entry{}
	add := func(entries ...Entry) {
		for _, e := range entries {
			name := e.Tool.Spec().Name
			if _, taken := out[name]; !taken {
				out[name] = e
			}
		}
	}
	for _, name := range names {
		cassetteName, isReplay := strings.CutPrefix(name, ReplayPrefix)
		switch {
		case isReplay:
			if entries, err := r.Replay(cassetteName); err == nil {
				add(entries...)
			}
		case name == Builtin:
			add(r.builtin...)
		default:
			for _, e := range r.builtin {
				if e.Tool.Spec().Name == name {
					add(e)
				}
			}
		}
	}
	return out
}

// Replay is the tools of a cassette. Errors are those of the library, or Invalid for a schema that
// does not compile.
func (r *Registry) Replay(name string) ([]Entry, error) {
	index, err := r.library.Get(name)
	if err != nil {
		return nil, fmt.Errorf("tools of cassette %s: %w", name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if have, ok := r.ready[name]; ok && have.index == index {
		return have.entries, nil
	}
	set := replaySet{index: index}
	for _, spec := range index.Cassette().Header.Tools {
		e, err := r.entry(replay.New(name, spec, index), tool.Traits{Ordered: true})
		if err != nil {
			return nil, fmt.Errorf("tools of cassette %s: %w", name, err)
		}
		set.entries = append(set.entries, e)
	}
	r.ready[name] = set
	return set.entries, nil
}

// Sets is what can be named: the built-ins, then one set for each cassette whose header can be read,
// by name. Problems are the cassettes left out.
func (r *Registry) Sets() (sets []toolevent.Set, problems []error) {
	builtin := toolevent.Set{Name: Builtin, Tools: []toolevent.Tool{}}
	for _, e := range r.builtin {
		builtin.Tools = append(builtin.Tools, describe(e.Tool.Spec(), e.Tool.Class()))
	}
	sets = append(sets, builtin)
	for _, c := range r.library.List() {
		if c.Err != nil {
			problems = append(problems, fmt.Errorf("cassette %s: %w", c.Path, c.Err))
			continue
		}
		set := toolevent.Set{Name: ReplayPrefix + c.Name, Tools: []toolevent.Tool{}}
		var err error
		for _, spec := range c.Header.Tools {
			if _, err = tool.CompileSchema(spec); err != nil {
				problems = append(problems, fmt.Errorf("cassette %s: %w", c.Path, err))
				break
			}
			set.Tools = append(set.Tools, describe(spec, toolevent.Pure))
		}
		if err == nil {
			sets = append(sets, set)
		}
	}
	return sets, problems
}

// describe is a tool as it is published: its schema compact, as events carry it.
func describe(spec chat.ToolSpec, class string) toolevent.Tool {
	var b bytes.Buffer
	if err := json.Compact(&b, spec.Parameters); err == nil {
		spec.Parameters = b.Bytes()
	} else {
		spec.Parameters = json.RawMessage(`{"type":"object"}`) // none given
	}
	return toolevent.Tool{Spec: spec, Class: class}
}
