package cassette

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Index finds what follows a prefix of a recording by the prefix's chain hash. It is immutable and
// safe for any number of readers.
type Index struct {
	cassette *Cassette
	nodes    map[string]node // chain hash → what is known about the prefix
}

// node is one prefix. A prefix may be shared by several conversations; conv is the first of them.
type node struct {
	conv  int // index of the conversation
	next  int // how many of its messages the prefix holds
	reply ref // the assistant message that follows
	tool  ref // the tool message that follows
	ended bool
}

// ref names a message; set tells the zero ref apart.
type ref struct {
	conv, msg int
	set       bool
}

// NewIndex indexes a cassette. Two different replies, or two different tool results, after the same
// prefix are a fault of kind Invalid that names both conversations: nobody could tell which one to give.
func NewIndex(c *Cassette) (*Index, error) {
	x := &Index{cassette: c, nodes: map[string]node{}}
	for i, conv := range c.Conversations {
		chain := ""
		for j, m := range conv.Messages {
			if err := x.add(chain, i, j); err != nil {
				return nil, err
			}
			chain = chat.Extend(chain, m.Hash())
		}
		n := x.at(chain, i, len(conv.Messages))
		n.ended = true
		x.nodes[chain] = n
	}
	return x, nil
}

func (x *Index) at(chain string, conv, next int) node {
	n, ok := x.nodes[chain]
	if !ok {
		n = node{conv: conv, next: next}
	}
	return n
}

// add notes that message msg of conversation conv follows the prefix named by chain.
func (x *Index) add(chain string, conv, msg int) error {
	n := x.at(chain, conv, msg)
	var slot *ref
	switch m := x.cassette.Conversations[conv].Messages[msg]; m.Role {
	case chat.Assistant:
		slot = &n.reply
	case chat.Tool:
		slot = &n.tool
	case chat.System, chat.User:
	default:
		return fault.Newf(fault.Invalid, "cassette.index", "conversation %s, message %d has the unknown role %q",
			x.cassette.Conversations[conv].ID, msg, m.Role)
	}
	if slot != nil {
		here := ref{conv: conv, msg: msg, set: true}
		if slot.set && x.get(*slot).Hash() != x.get(here).Hash() {
			return x.ambiguous(*slot, here)
		}
		if !slot.set {
			*slot = here
		}
	}
	x.nodes[chain] = n
	return nil
}

func (x *Index) get(r ref) chat.Message { return x.cassette.Conversations[r.conv].Messages[r.msg] }

func (x *Index) ambiguous(a, b ref) error {
	return fault.Newf(fault.Invalid, "cassette.index",
		"conversations %s and %s are the same up to message %d and then differ: %s against %s",
		x.cassette.Conversations[a.conv].ID, x.cassette.Conversations[b.conv].ID, a.msg,
		describe(x.get(a)), describe(x.get(b))).
		WithFix("leave one of them out, or make the messages before differ")
}

// Cassette is what the index was made of; it must not be changed.
func (x *Index) Cassette() *Cassette { return x.cassette }

// Reply is the recorded assistant message after the prefix with this chain hash.
func (x *Index) Reply(chain string) (chat.Message, bool) {
	n := x.nodes[chain]
	if !n.reply.set {
		return chat.Message{}, false
	}
	return x.get(n.reply), true
}

// ToolResult is the recorded tool message after the prefix with this chain hash: an assistant message
// with tool calls and the results of the calls before.
func (x *Index) ToolResult(chain string) (chat.Message, bool) {
	n := x.nodes[chain]
	if !n.tool.set {
		return chat.Message{}, false
	}
	return x.get(n.tool), true
}

// Ended reports whether the prefix is exactly a whole conversation. Another conversation may still go
// on from it: ask Reply first.
func (x *Index) Ended(chain string) bool { return x.nodes[chain].ended }

// Nearest is the recorded prefix that agrees longest with some messages.
type Nearest struct {
	Conversation string // id; "" when the cassette is empty
	Index        int    // the first message that differs, from 0
	Want         string // what is recorded there, shortened; "" when the recording ends there
	Got          string // what was asked for, shortened; "" when the messages end there
}

// Nearest says how far messages agree with a recording and where they leave it.
func (x *Index) Nearest(messages []chat.Message) Nearest {
	chain := ""
	best, ok := x.nodes[chain]
	if !ok {
		return Nearest{}
	}
	agreed := 0
	for _, m := range messages {
		chain = chat.Extend(chain, m.Hash())
		n, known := x.nodes[chain]
		if !known {
			break
		}
		best = n
		agreed++
	}
	conv := x.cassette.Conversations[best.conv]
	near := Nearest{Conversation: conv.ID, Index: agreed}
	if best.next < len(conv.Messages) {
		near.Want = describe(conv.Messages[best.next])
	}
	if agreed < len(messages) {
		near.Got = describe(messages[agreed])
	}
	return near
}

// String is the nearest prefix as one sentence for people.
func (n Nearest) String() string {
	if n.Conversation == "" {
		return "the cassette holds no conversation"
	}
	where := fmt.Sprintf("conversation %s, message %d differs", n.Conversation, n.Index)
	switch {
	case n.Want == "":
		return fmt.Sprintf("%s: the recording ends there, got %s", where, n.Got)
	case n.Got == "":
		return fmt.Sprintf("%s: recorded %s, got nothing more", where, n.Want)
	}
	return fmt.Sprintf("%s: recorded %s, got %s", where, n.Want, n.Got)
}

// excerptBytes bounds how much of a message is shown.
const excerptBytes = 120

// describe is a message in a few words.
func describe(m chat.Message) string {
	var b strings.Builder
	b.WriteString(m.Role)
	for _, call := range m.ToolCalls {
		fmt.Fprintf(&b, " calls %s(%s)", call.Function.Name, excerpt(call.Function.Arguments))
	}
	if m.Role == chat.Tool {
		fmt.Fprintf(&b, " %s [%s]", m.Name, m.ToolCallID)
	}
	if m.Content != nil {
		fmt.Fprintf(&b, " %q", excerpt(*m.Content))
	}
	return b.String()
}

func excerpt(s string) string {
	if len(s) <= excerptBytes {
		return s
	}
	cut := excerptBytes
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
