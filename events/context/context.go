// Package context holds the facts about address spaces: pages and windows. Only the context service
// writes them, to the stream "context/<pid>".
//
// A page is one message of the conversation, named by its hash. A window is the ordered list of pages
// one model call sees; it is told as what was appended to the window before it.
package context

import (
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
)

// Event is a fact about an address space.
//
//sumtype:decl
type Event interface {
	events.Event
	isContextEvent()
}

// PageWritten puts one message into the address space. The content travels once per hash: a page seen
// before has no message.
type PageWritten struct {
	Hash    string        `json:"hash"`    // of the message, see chat.Message.Hash
	Tokens  int           `json:"tokens"`  // counted by us
	Message *chat.Message `json:"message"` // nil when the hash was written before
	Source  Source        `json:"source"`
}

// The kinds of sources.
const (
	SourceSystem     = "system"
	SourceTask       = "task"
	SourceMessage    = "message"
	SourceReply      = "reply"
	SourceToolResult = "tool_result"
)

// Source says where a page comes from and gives its place: pages are ordered by step, then replies
// before tool results before messages, then index.
type Source struct {
	Kind  string `json:"kind"`
	Step  int    `json:"step"`
	Index int    `json:"index"`
	Ref   string `json:"ref"` // message id or call id
}

// WindowAssembled is the list of pages for one model call: the first Keep pages of the window before
// it, then Appended. After an eviction Keep is 0 and Appended is the whole list.
type WindowAssembled struct {
	Step            int       `json:"step"`
	Epoch           int       `json:"epoch"`
	Keep            int       `json:"keep"`
	Appended        []string  `json:"appended"` // page hashes
	Hash            string    `json:"hash"`     // chain hash of the whole window, see chat.Extend
	Pages           int       `json:"pages"`    // in all
	Tokens          int       `json:"tokens"`   // of all pages, counted by us
	Evicted         int       `json:"evicted"`  // pages of the conversation that this window leaves out
	Tools           []string  `json:"tools"`    // tool names and tool sets offered
	Model           string    `json:"model"`
	MaxOutputTokens int       `json:"max_output_tokens"`
	RemainingTokens int64     `json:"remaining_tokens"`
	RemainingMicro  int64     `json:"remaining_micro_usd"` // -1: no cost limit
	Deadline        time.Time `json:"deadline"`
}

// WindowRefused says that no window fits the model: the step cannot go on.
type WindowRefused struct {
	Step   int    `json:"step"`
	Epoch  int    `json:"epoch"`
	Reason string `json:"reason"`
}
