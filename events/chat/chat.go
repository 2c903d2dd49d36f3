// Package chat is the shape of a conversation with a model: the messages, their canonical bytes and
// the chain hash that names a prefix.
//
// The JSON is that of OpenAI-compatible chat completions, because every provider has a form of it.
package chat

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// The roles of a message.
const (
	System    = "system"
	User      = "user"
	Assistant = "assistant"
	Tool      = "tool"
)

// Message is one message of a conversation. Content is nil for an assistant message that only calls
// tools; that is kept apart from an empty string.
type Message struct {
	Role       string     `json:"role"`
	Content    *string    `json:"content"`
	Reasoning  *string    `json:"reasoning_content,omitempty"` // echoed back: some providers refuse a tool turn without it
	ToolCalls  []ToolCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
	Name       string     `json:"name,omitempty"` // tool name of a tool message
}

// ToolCall is a model's wish to call a tool. ID is the provider's and may repeat; our own call id is
// made of pid, step and index.
type ToolCall struct {
	ID       string       `json:"id"`
	Type     string       `json:"type"` // "function"
	Function FunctionCall `json:"function"`
}

// FunctionCall names the tool and carries its arguments as the string the model wrote.
type FunctionCall struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// ToolSpec describes a tool to a model: name, what it does and the JSON Schema of its arguments.
type ToolSpec struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Parameters  json.RawMessage `json:"parameters"`
}

// Text makes a message with text content.
func Text(role, content string) Message { return Message{Role: role, Content: &content} }

// Result makes the tool message that answers a call.
func Result(call ToolCall, content string) Message {
	return Message{Role: Tool, Content: &content, ToolCallID: call.ID, Name: call.Function.Name}
}

// String is the text content, "" when there is none.
func (m Message) String() string {
	if m.Content == nil {
		return ""
	}
	return *m.Content
}

// Canonical is the one byte form of a message: the fields of Message in their order, compact, no
// HTML escapes. Equal messages have equal bytes; hashes and comparisons rest on it.
func (m Message) Canonical() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		// Message holds strings only: Encode cannot fail on it.
		return []byte(fmt.Sprintf("{%q:%q}", "unencodable", err.Error()))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Hash names one message: SHA-256 of its canonical bytes, in hex (64 characters).
func (m Message) Hash() string {
	sum := sha256.Sum256(m.Canonical())
	return hex.EncodeToString(sum[:])
}

// Chain is the hash of a list of messages: Extend folded over the messages' hashes, from "".
func Chain(messages []Message) string {
	h := ""
	for _, m := range messages {
		h = Extend(h, m.Hash())
	}
	return h
}

// Extend is the chain hash after one more message: SHA-256 over the hex of the chain so far, a
// newline and the hex of the message's hash; in hex.
func Extend(chain, messageHash string) string {
	sum := sha256.Sum256([]byte(chain + "\n" + messageHash))
	return hex.EncodeToString(sum[:])
}
