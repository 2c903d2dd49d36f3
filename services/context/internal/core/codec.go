package core

import (
	"encoding/json"
	"fmt"

	"github.com/agentos-kernel/agentos/events"
	contextevents "github.com/agentos-kernel/agentos/events/context"
)

// Codec is the version of what Encode writes: raise it when that changes, or what Evolve makes of a fact.
// A test names the change.
const Codec = 1

// saved is an address space in a snapshot. Hashes are most of it, so each is written once: the pages known
// are those of Pages, and the window names its pages by their place in it.
type saved struct {
	Pages   []savedPage `json:"pages"`
	Window  []int       `json:"window"`
	Hash    string      `json:"hash"`
	Step    int         `json:"step"`
	Evicted int         `json:"evicted"`
}

type savedPage struct {
	Hash   string `json:"h"`
	Tokens int    `json:"n,omitempty"`
	Kind   string `json:"k"`
	Step   int    `json:"s,omitempty"`
	Index  int    `json:"i,omitempty"`
	Ref    string `json:"r,omitempty"`
}

// Encode is the state as a snapshot keeps it; equal states give equal bytes.
func Encode(s State) ([]byte, error) {
	out := saved{Hash: s.Hash, Step: s.Step, Evicted: s.Evicted, Pages: make([]savedPage, len(s.Pages)), Window: make([]int, len(s.Window))}
	place := make(map[string]int, len(s.Pages))
	for i, p := range s.Pages {
		out.Pages[i] = savedPage{
			Hash: p.Hash, Tokens: p.Tokens, Kind: p.Source.Kind, Step: p.Source.Step, Index: p.Source.Index, Ref: p.Source.Ref,
		}
		if _, seen := place[p.Hash]; !seen {
			place[p.Hash] = i
		}
	}
	for i, h := range s.Window {
		at, ok := place[h]
		if !ok {
			return nil, fmt.Errorf("the window shows the page %s, which was never written", h)
		}
		out.Window[i] = at
	}
	return events.Encode(out)
}

// Decode is the state that Encode wrote.
func Decode(b []byte) (State, error) {
	var in saved
	if err := json.Unmarshal(b, &in); err != nil {
		return State{}, fmt.Errorf("decode an address space: %w", err)
	}
	s := State{Hash: in.Hash, Step: in.Step, Evicted: in.Evicted, Pages: make([]Page, len(in.Pages)), Window: make([]string, len(in.Window))}
	s.Known = make(map[string]struct{}, len(in.Pages))
	for i, p := range in.Pages {
		s.Known[p.Hash] = struct{}{}
		s.Pages[i] = Page{Hash: p.Hash, Tokens: p.Tokens, Source: contextevents.Source{Kind: p.Kind, Step: p.Step, Index: p.Index, Ref: p.Ref}}
	}
	for i, at := range in.Window {
		if at < 0 || at >= len(s.Pages) {
			return State{}, fmt.Errorf("the window shows page %d of %d", at, len(s.Pages))
		}
		s.Window[i] = s.Pages[at].Hash
	}
	return s, nil
}
