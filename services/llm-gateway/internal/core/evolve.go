package core

import (
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/llm"
)

// Evolve folds one fact into the state.
func Evolve(s State, e events.Event) State {
	fact, ok := e.(llm.Event)
	if !ok {
		return s
	}
	switch e := fact.(type) {
	case llm.CallStarted:
		s.Open = &Open{
			Call: e.Call, Model: e.Model, Provider: e.Provider, WindowHash: e.WindowHash, MaxTokens: e.MaxTokens,
			ReservedTokens: e.ReservedTokens, ReservedMicro: e.ReservedMicro,
		}
		s.Epoch = max(s.Epoch, e.Call.Epoch)
		s.Totals = Add(s.Totals, e.Lost)
	case llm.CallRefused:
		return s.end(e.Call, llm.Usage{})
	case llm.CallFinished:
		return s.end(e.Call, e.Usage)
	case llm.CallFailed:
		return s.end(e.Call, e.Usage)
	case llm.CallCancelled:
		return s.end(e.Call, e.Usage)
	case llm.CatalogPublished:
		s.Catalog = e.Models
	}
	return s
}

func (s State) end(c llm.Call, u llm.Usage) State {
	if s.Open != nil && s.Open.Call.ID == c.ID {
		s.Open = nil
	}
	s.Done = max(s.Done, c.Step)
	s.Epoch = max(s.Epoch, c.Epoch)
	s.Totals = Add(s.Totals, u)
	return s
}
