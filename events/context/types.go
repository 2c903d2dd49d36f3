package context

import (
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
)

const (
	exampleCall = "p06ezc1g3q9v6n4t0h2jw8k5rm4/2/0"
	exampleHash = "4d5a3c7e0f1b2a698877665544332211ffeeddccbbaa99887766554433221100"
)

// Types lists the family for registries, goldens and the catalogue.
func Types() []events.Type {
	content, reasoning := "I look into the file <sales.csv>.", "The numbers are in a file."
	page := PageWritten{
		Tokens: 14,
		Message: &chat.Message{
			Role: chat.Assistant, Content: &content, Reasoning: &reasoning,
			ToolCalls: []chat.ToolCall{{
				ID: "call_1", Type: "function",
				Function: chat.FunctionCall{Name: "read_file", Arguments: `{"path": "sales.csv"}`},
			}},
			ToolCallID: "call_0", Name: "list_dir",
		},
		Source: Source{Kind: SourceReply, Step: 2, Index: 1, Ref: exampleCall},
	}
	page.Hash = page.Message.Hash()
	return []events.Type{
		events.TypeOf("A message became a page of the address space.", page),
		events.TypeOf("The window for one model call is put together.", WindowAssembled{
			Step: 2, Epoch: 1, Keep: 3, Appended: []string{page.Hash}, Hash: exampleHash, Pages: 4, Tokens: 812,
			Evicted: 1, Tools: []string{"read_file", "replay/airline"}, Model: "openai/gpt-5.6-sol",
			MaxOutputTokens: 4096, RemainingTokens: 198080, RemainingMicro: 497690,
			Deadline: time.Date(2026, time.March, 4, 9, 30, 15, 250000000, time.UTC),
		}),
		events.TypeOf("No window fits the model: the step cannot go on.",
			WindowRefused{Step: 2, Epoch: 1, Reason: "the task alone has 140000 tokens; the model takes 128000"}),
	}
}
