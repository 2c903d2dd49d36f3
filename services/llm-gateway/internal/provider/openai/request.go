package openai

import (
	"encoding/json"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
)

// The two names of the output limit.
const (
	limitNew = "max_completion_tokens"
	limitOld = "max_tokens"
)

// request is the body of a chat completion. Its messages are in our canonical form, which is the
// interface's own.
type request struct {
	Model         string         `json:"model"`
	Messages      []chat.Message `json:"messages"`
	Tools         []toolSpec     `json:"tools,omitempty"`
	LimitNew      int            `json:"max_completion_tokens,omitempty"`
	LimitOld      int            `json:"max_tokens,omitempty"`
	Stream        bool           `json:"stream"`
	StreamOptions streamOptions  `json:"stream_options"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type toolSpec struct {
	Type     string       `json:"type"`
	Function functionSpec `json:"function"`
}

type functionSpec struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
}

func encode(req provider.Request, limit string) ([]byte, error) {
	body := request{
		Model: req.Model, Messages: req.Messages, Stream: true, StreamOptions: streamOptions{IncludeUsage: true},
	}
	if limit == limitOld {
		body.LimitOld = req.MaxTokens
	} else {
		body.LimitNew = req.MaxTokens
	}
	for _, t := range req.Tools {
		body.Tools = append(body.Tools, toolSpec{Type: "function", Function: functionSpec{
			Name: t.Name, Description: t.Description, Parameters: t.Parameters,
		}})
	}
	return events.Encode(body)
}
