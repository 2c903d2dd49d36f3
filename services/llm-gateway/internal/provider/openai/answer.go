package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
)

// chunk is a piece of a streamed answer, or a whole answer that was not streamed.
type chunk struct {
	ID      string          `json:"id"`
	Model   string          `json:"model"`
	Choices []choice        `json:"choices"`
	Usage   *usage          `json:"usage"`
	Error   json.RawMessage `json:"error"`
}

type choice struct {
	Delta        *piece  `json:"delta"`
	Message      *piece  `json:"message"`
	FinishReason *string `json:"finish_reason"`
	Usage        *usage  `json:"usage"` // Kimi puts it here
}

type piece struct {
	Content   *string     `json:"content"`
	Reasoning *string     `json:"reasoning_content"`
	Thinking  *string     `json:"reasoning"` // Ollama's name for it
	Refusal   *string     `json:"refusal"`
	ToolCalls []callPiece `json:"tool_calls"`
}

type callPiece struct {
	Index    *int   `json:"index"`
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"` // a string; some engines send the object itself
	} `json:"function"`
}

type usage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	CachedTokens     int64 `json:"cached_tokens"`           // Kimi
	CacheHitTokens   int64 `json:"prompt_cache_hit_tokens"` // DeepSeek
	PromptDetails    *struct {
		CachedTokens     int64 `json:"cached_tokens"`
		CacheWriteTokens int64 `json:"cache_write_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionDetails *struct {
		ReasoningTokens int64 `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
}

func (u usage) normal() llm.Usage {
	n := llm.Usage{InputTokens: u.PromptTokens, OutputTokens: u.CompletionTokens, CachedTokens: max(u.CachedTokens, u.CacheHitTokens)}
	if u.PromptDetails != nil {
		n.CachedTokens = max(n.CachedTokens, u.PromptDetails.CachedTokens)
	}
	if u.CompletionDetails != nil {
		n.ReasoningTokens = u.CompletionDetails.ReasoningTokens
	}
	return n
}

// answer puts the pieces together.
type answer struct {
	left      int // bytes that may still come
	id, model string
	content   *strings.Builder // nil until there is a content that is not null
	reasoning *strings.Builder
	calls     []*partialCall
	finish    string
	usage     *usage
	first     time.Duration
	begun     bool
}

type partialCall struct {
	index    int
	id, name string
	args     strings.Builder
}

func newAnswer(limit int) *answer { return &answer{left: limit} }

var errTooLarge = errors.New("the answer is larger than allowed")

// readStream reads server-sent events up to [DONE]. tick is told of each event: whether it is the first
// that says anything, and its text.
func (a *answer) readStream(r io.Reader, tick func(first bool, text string)) error {
	s := newEventReader(r, a.left)
	done := false
	for !done {
		data, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if done = bytes.Equal(data, []byte("[DONE]")); done {
			break
		}
		text, err := a.add(data)
		if err != nil {
			return err
		}
		tick(a.begins(), text)
	}
	if !done && a.finish == "" {
		return &failure{again: true, kind: fault.Unavailable, message: "the answer was cut off", err: io.ErrUnexpectedEOF}
	}
	return a.complete()
}

// readJSON reads an answer that was not streamed.
func (a *answer) readJSON(r io.Reader, tick func(first bool, text string)) error {
	data, err := io.ReadAll(io.LimitReader(r, int64(a.left)+1))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if len(data) > a.left {
		return tooLarge()
	}
	text, err := a.add(bytes.TrimSpace(data))
	if err != nil {
		return err
	}
	tick(a.begins(), text)
	return a.complete()
}

// begins reports once that the answer has begun. Many engines send an empty piece at once, before they
// have read the prompt: that is no beginning.
func (a *answer) begins() bool {
	said := func(b *strings.Builder) bool { return b != nil && b.Len() > 0 }
	if a.begun || (!said(a.content) && !said(a.reasoning) && len(a.calls) == 0 && a.finish == "") {
		return false
	}
	a.begun = true
	return true
}

func (a *answer) complete() error {
	if a.content == nil && a.reasoning == nil && len(a.calls) == 0 && a.finish == "" {
		return &failure{again: true, kind: fault.Unavailable, message: "the answer is empty"}
	}
	return nil
}

func tooLarge() error {
	return fault.Wrap(fault.Internal, "openai.read", "the answer is too large", errTooLarge).
		WithFix("lower max_output_tokens")
}

// add takes in one chunk and returns the text it adds.
func (a *answer) add(data []byte) (string, error) {
	var c chunk
	if err := json.Unmarshal(data, &c); err != nil {
		return "", fault.Wrap(fault.Internal, "openai.read", "the answer is not the JSON of a chat completion", err).
			WithFix("check that the base URL is that of an OpenAI-compatible server")
	}
	if len(c.Error) > 0 && !bytes.Equal(c.Error, []byte("null")) {
		e := parseError(c.Error)
		f := newFailure(statusOf(e), e)
		return "", f
	}
	if c.ID != "" {
		a.id = c.ID
	}
	if c.Model != "" {
		a.model = c.Model
	}
	if c.Usage != nil {
		a.usage = c.Usage
	}
	if len(c.Choices) == 0 {
		return "", nil
	}
	first := c.Choices[0]
	if first.Usage != nil && a.usage == nil {
		a.usage = first.Usage
	}
	if first.FinishReason != nil && *first.FinishReason != "" {
		a.finish = *first.FinishReason
	}
	p := first.Delta
	if p == nil {
		p = first.Message
	}
	if p == nil {
		return "", nil
	}
	return a.merge(*p)
}

// statusOf is the HTTP status an error within a stream stands for.
func statusOf(e wireError) int {
	if n, ok := e.Code.(float64); ok && n >= 400 && n < 600 {
		return int(n)
	}
	switch e.codeString() {
	case "rate_limit_exceeded", "rate_limit_error":
		return 429
	case "invalid_request_error", "context_length_exceeded":
		return 400
	}
	return 500
}

func (a *answer) merge(p piece) (string, error) {
	text := ""
	if p.Content != nil {
		appendTo(&a.content, *p.Content)
		text = *p.Content
	}
	if p.Refusal != nil && *p.Refusal != "" {
		appendTo(&a.content, *p.Refusal)
		text += *p.Refusal
	}
	for _, r := range []*string{p.Reasoning, p.Thinking} {
		if r != nil {
			appendTo(&a.reasoning, *r)
			a.left -= len(*r)
		}
	}
	a.left -= len(text)
	for _, c := range p.ToolCalls {
		if err := a.mergeCall(c); err != nil {
			return text, err
		}
	}
	if a.left < 0 {
		return text, tooLarge()
	}
	return text, nil
}

func appendTo(b **strings.Builder, s string) {
	if *b == nil {
		*b = &strings.Builder{}
	}
	_, _ = (*b).WriteString(s) // a Builder never fails
}

// mergeCall takes in a piece of a tool call. Pieces belong together by index; a server that gives all
// calls the same index, or none, tells them apart by their ids.
func (a *answer) mergeCall(c callPiece) error {
	call := a.find(c)
	if c.ID != "" {
		call.id = c.ID
	}
	if c.Function.Name != "" {
		call.name = c.Function.Name
	}
	args, err := arguments(c.Function.Arguments)
	if err != nil {
		return err
	}
	call.args.WriteString(args)
	a.left -= len(args) + len(c.ID) + len(c.Function.Name) + 16
	return nil
}

func (a *answer) find(c callPiece) *partialCall {
	if c.Index == nil {
		if n := len(a.calls); n > 0 && c.ID == "" && c.Function.Name == "" {
			return a.calls[n-1]
		}
		return a.newCall(len(a.calls))
	}
	for _, call := range slices.Backward(a.calls) {
		if call.index != *c.Index {
			continue
		}
		if c.ID != "" && call.id != "" && c.ID != call.id && c.Function.Name != "" {
			break // another call under the same index
		}
		return call
	}
	return a.newCall(*c.Index)
}

func (a *answer) newCall(index int) *partialCall {
	call := &partialCall{index: index}
	a.calls = append(a.calls, call)
	return call
}

func arguments(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return "", nil
	}
	if raw[0] != '"' {
		return string(raw), nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fault.Wrap(fault.Internal, "openai.read", "the arguments of a tool call are damaged", err)
	}
	return s, nil
}

func (a *answer) reply() provider.Reply {
	r := provider.Reply{
		Message:      chat.Message{Role: chat.Assistant, Content: text(a.content), Reasoning: text(a.reasoning)},
		FinishReason: a.finish, Model: a.model, ID: a.id, FirstToken: a.first,
	}
	for _, c := range a.calls {
		r.Message.ToolCalls = append(r.Message.ToolCalls, chat.ToolCall{
			ID: c.id, Type: "function", Function: chat.FunctionCall{Name: c.name, Arguments: c.args.String()},
		})
	}
	if a.usage != nil {
		r.Usage, r.Reported = a.usage.normal(), true
		if d := a.usage.PromptDetails; d != nil {
			r.CacheWritten = d.CacheWriteTokens
		}
	}
	return r
}

func text(b *strings.Builder) *string {
	if b == nil {
		return nil
	}
	s := b.String()
	return &s
}
