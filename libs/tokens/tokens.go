// Package tokens estimates how many tokens a model makes of a text, without the model's vocabulary.
//
// The estimate serves budgets, context windows and recordings that carry no usage. It is a count of
// our own and is always marked so ("counted"); what a provider bills is what the provider reports.
// The rules were fitted to the o200k_base vocabulary; testdata/o200k.json holds the true counts the
// estimate is compared with.
package tokens

import (
	"github.com/agentos-kernel/agentos/events/chat"
)

// messageOverhead is what the frame of one message costs in the chat formats: role and separators.
const messageOverhead = 4

// callOverhead is what the frame of one tool call costs beside its name and its arguments.
const callOverhead = 6

// class is what a byte is to the estimate.
type class uint8

const (
	letter class = iota
	upper
	digit
	space
	newline
	punct
	lead2 // first byte of a character of an alphabet: Latin with accents, Greek, Cyrillic, Arabic, Indic
	lead3 // of a three-byte one that mostly stands alone: CJK, Hangul, symbols
	lead4 // of a four-byte one: emoji, rare signs
	trail
)

// Costs in 1/unit tokens, so that the sum stays exact.
const (
	unit      = 20
	wordBytes = 8 // letters of one word up to here are one token; long words have common parts
	costTail  = 5 // each letter of a word beyond that
)

// Count estimates the tokens of a text. It never falls when text is added at either end, and it reads
// the text once. The model's name is there for vocabularies that differ much from the fitted one; none
// is told apart so far.
func Count(_ string, text string) int {
	sum, run := 0, 0
	last := newline
	for i := range len(text) {
		c := classOf(text[i])
		if c == last || (c == letter && last == upper) {
			run++
		} else {
			run = 1
		}
		sum += cost(c, run, last)
		last = c
	}
	return (sum + unit - 1) / unit
}

// cost is what a byte adds: the run'th byte in a row of class c, behind one of class last.
func cost(c class, run int, last class) int {
	switch c {
	case letter:
		switch {
		case run == 1 && last == space:
			return 0 // the space before a word is the word's own token
		case run == 1:
			return unit
		case run > wordBytes:
			return costTail
		}
		return 0
	case upper:
		if run == 1 && last == space {
			return 0
		}
		if run == 1 {
			return unit
		}
		return unit / 4
	case digit:
		if run%3 == 1 {
			return unit
		}
		return 0
	case space, newline:
		if run == 1 {
			return unit
		}
		return unit / 20
	case punct:
		if run == 1 {
			return unit * 3 / 4
		}
		return unit / 5
	case lead2:
		return unit / 5
	case lead3:
		return unit * 3 / 5
	case lead4:
		return unit
	case trail:
		return unit / 10
	}
	return unit
}

func classOf(b byte) class {
	switch {
	case b >= 'a' && b <= 'z':
		return letter
	case b == ' ' || b == '\t':
		return space
	case b >= 'A' && b <= 'Z':
		return upper
	case b >= '0' && b <= '9':
		return digit
	case b < ' ':
		return newline
	case b < 0x80:
		return punct
	case b < 0xC0:
		return trail
	case b <= 0xE0:
		return lead2
	case b < 0xF0:
		return lead3
	}
	return lead4
}

// Message estimates the tokens of one message with its frame.
func Message(model string, m chat.Message) int {
	n := messageOverhead + Count(model, m.Name)
	if m.Content != nil {
		n += Count(model, *m.Content)
	}
	if m.Reasoning != nil {
		n += Count(model, *m.Reasoning)
	}
	for _, call := range m.ToolCalls {
		n += callOverhead + Count(model, call.Function.Name) + Count(model, call.Function.Arguments)
	}
	return n
}

// Tools estimates the tokens of the tool definitions offered with a request.
func Tools(model string, specs []chat.ToolSpec) int {
	n := 0
	for _, s := range specs {
		n += callOverhead + Count(model, s.Name) + Count(model, s.Description) + Count(model, string(s.Parameters))
	}
	return n
}
