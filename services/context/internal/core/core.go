// Package core keeps the address space of a process: which pages there are, in which order, and which
// of them the next window shows. Pure functions from state and command to facts.
package core

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/chat"
	contextevents "github.com/agentos-kernel/agentos/events/context"
)

// State is the fold of one address space.
type State struct {
	Pages   []Page              // in the order of the conversation
	Known   map[string]struct{} // hashes whose content was written
	Window  []string            // hashes of the last window
	Hash    string              // chain hash of the last window
	Step    int                 // of the last window
	Evicted int                 // pages behind the head that windows leave out
}

// Page is one place in the conversation.
type Page struct {
	Hash   string
	Tokens int
	Source contextevents.Source
}

// Evolve folds one fact into the state.
func Evolve(s State, e events.Event) State {
	c, ok := e.(contextevents.Event)
	if !ok {
		return s
	}
	switch e := c.(type) {
	case contextevents.PageWritten:
		if s.Known == nil {
			s.Known = map[string]struct{}{}
		}
		s.Known[e.Hash] = struct{}{}
		p := Page{Hash: e.Hash, Tokens: e.Tokens, Source: e.Source}
		i, _ := slices.BinarySearchFunc(s.Pages, p, byPlace)
		s.Pages = slices.Insert(s.Pages, i, p)
	case contextevents.WindowAssembled:
		s.Window = append(s.Window[:e.Keep], e.Appended...)
		s.Hash, s.Step, s.Evicted = e.Hash, e.Step, e.Evicted
	case contextevents.WindowRefused:
		s.Step = e.Step
	}
	return s
}

// byPlace is the order of the conversation: by step; within a step what was delivered with its grant,
// then the reply, then the tool results in the order of the calls.
func byPlace(a, b Page) int {
	return cmp.Or(cmp.Compare(a.Source.Step, b.Source.Step), cmp.Compare(rank(a.Source.Kind), rank(b.Source.Kind)),
		cmp.Compare(a.Source.Index, b.Source.Index))
}

func rank(kind string) int {
	switch kind {
	case contextevents.SourceSystem:
		return 0
	case contextevents.SourceTask:
		return 1
	case contextevents.SourceMessage:
		return 2
	case contextevents.SourceReply:
		return 3
	}
	return 4
}

// Write puts a message at a place of the conversation. A place that is taken changes nothing; content
// that was written before is named by its hash alone.
func Write(s State, source contextevents.Source, m chat.Message, tokens int) []events.Event {
	p := Page{Hash: m.Hash(), Tokens: tokens, Source: source}
	if _, taken := slices.BinarySearchFunc(s.Pages, p, byPlace); taken {
		return nil
	}
	e := contextevents.PageWritten{Hash: p.Hash, Tokens: tokens, Source: source}
	if _, known := s.Known[p.Hash]; !known {
		e.Message = &m
	}
	return []events.Event{e}
}

// NextIndex is the index for another message delivered at a step.
func NextIndex(s State, step int) int {
	n := 0
	for _, p := range s.Pages {
		if p.Source.Step == step && p.Source.Kind == contextevents.SourceMessage {
			n++
		}
	}
	return n
}

// Delivered reports whether a message is in the address space already.
func Delivered(s State, messageID string) bool {
	return slices.ContainsFunc(s.Pages, func(p Page) bool {
		return p.Source.Kind == contextevents.SourceMessage && p.Source.Ref == messageID
	})
}

// Assemble makes the window for a granted step. Windows grow by appending, which keeps the prefix a
// provider has cached; only when the model's limit is reached are the oldest turns left out, and then
// so many that the next steps append again. A grant handled before changes nothing.
func Assemble(s State, g agent.StepGranted, sets int) []events.Event {
	if g.Step <= s.Step {
		return nil
	}
	limit := g.ContextTokens - g.MaxOutputTokens - toolTokens*sets
	if g.ContextTokens == 0 {
		limit = math.MaxInt // nobody knows the model's window: the provider will say when it is full
	}
	evicted := s.Evicted
	head := headLen(s.Pages)
	if total(s.Pages, head, evicted) > limit {
		evicted = evict(s.Pages, head, evicted, limit/10*7)
	}
	if t := total(s.Pages, head, evicted); t > limit {
		return []events.Event{contextevents.WindowRefused{Step: g.Step, Epoch: g.Epoch, Reason: fmt.Sprintf(
			"the context does not fit the model: %d tokens are left of %d after max_output_tokens, the newest turn needs %d; use a model with a larger window or smaller tool results",
			limit, g.ContextTokens, t)}}
	}
	window := make([]string, 0, len(s.Pages))
	for i, p := range s.Pages {
		if i < head || i >= head+evicted {
			window = append(window, p.Hash)
		}
	}
	keep := 0
	for keep < len(s.Window) && keep < len(window) && s.Window[keep] == window[keep] {
		keep++
	}
	hash := s.Hash
	if keep < len(s.Window) {
		keep, hash = 0, ""
	}
	for _, h := range window[keep:] {
		hash = chat.Extend(hash, h)
	}
	return []events.Event{contextevents.WindowAssembled{
		Step: g.Step, Epoch: g.Epoch, Keep: keep, Appended: window[keep:], Hash: hash, Pages: len(window),
		Tokens: total(s.Pages, head, evicted), Evicted: evicted, Tools: g.Tools, Model: g.Model,
		MaxOutputTokens: g.MaxOutputTokens, RemainingTokens: g.RemainingTokens, RemainingMicro: g.RemainingMicro,
		Deadline: g.Deadline,
	}}
}

// toolTokens is what one offered tool or tool set is reserved in the window.
const toolTokens = 200

// headLen is the number of pages that are never evicted: system prompt and task.
func headLen(pages []Page) int {
	n := 0
	for n < len(pages) && pages[n].Source.Step == 0 {
		n++
	}
	return n
}

func total(pages []Page, head, evicted int) int {
	n := 0
	for i, p := range pages {
		if i < head || i >= head+evicted {
			n += p.Tokens
		}
	}
	return n
}

// evict leaves out whole turns from the oldest on until the rest fits target: a tool result never stays
// without the reply that asked for it, and the newest turn always stays.
func evict(pages []Page, head, evicted, target int) int {
	for total(pages, head, evicted) > target {
		next := head + evicted + 1
		for next < len(pages) && !startsTurn(pages[next]) {
			next++
		}
		if next >= len(pages) {
			return evicted
		}
		evicted = next - head
	}
	return evicted
}

func startsTurn(p Page) bool {
	return p.Source.Kind == contextevents.SourceMessage || p.Source.Kind == contextevents.SourceReply
}
