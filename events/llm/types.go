package llm

import (
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
)

const (
	exampleCall  = "p06ezc1g3q9v6n4t0h2jw8k5rm4/2/0"
	exampleModel = "openai/gpt-5.6-sol"
	exampleHash  = "4d5a3c7e0f1b2a698877665544332211ffeeddccbbaa99887766554433221100"
)

// Types lists the family for registries, goldens and the catalogue.
func Types() []events.Type {
	call := Call{ID: exampleCall, Step: 2, Epoch: 1, Attempt: 1}
	usage := Usage{
		InputTokens: 1824, CachedTokens: 1024, OutputTokens: 96, ReasoningTokens: 32, CostMicroUSD: 2310,
		Counted: true, Unknown: true,
	}
	return []events.Type{
		events.TypeOf("A model call is about to be sent; committed before the provider sees anything.", CallStarted{
			Call: call, Model: exampleModel, Provider: "openai", WindowHash: exampleHash, MaxTokens: 4096,
			ReservedTokens: 5920, ReservedMicro: 46200, Lost: usage,
		}),
		events.TypeOf("A model call was refused before it started.",
			CallRefused{Call: call, Code: CodeRecordingEnded, Reason: "the recording ends with these messages"}),
		events.TypeOf("The model has replied.", CallFinished{
			Call: call, Model: exampleModel, WindowHash: exampleHash, Message: exampleReply(),
			FinishReason: "tool_calls", Usage: usage, FirstTokenMS: 210, DurationMS: 1450, Tries: 2,
		}),
		events.TypeOf("A model call ended with an error.",
			CallFailed{Call: call, Code: "unavailable", Reason: "the provider answered 503 five times", Usage: usage}),
		events.TypeOf("A model call was stopped.", CallCancelled{Call: call, Reason: "the process was killed", Usage: usage}),
		events.TypeOf("The models that can be named; the newest one holds.", CatalogPublished{
			Models: []Model{{
				ID: exampleModel, ContextTokens: 400000, InputMicro: 1250000, CachedMicro: 125000,
				OutputMicro: 10000000, Source: "provider",
			}},
		}),
	}
}

func exampleReply() chat.Message {
	content, reasoning := "I look into the file <sales.csv>.", "The numbers are in a file."
	return chat.Message{
		Role: chat.Assistant, Content: &content, Reasoning: &reasoning,
		ToolCalls: []chat.ToolCall{{
			ID: "call_1", Type: "function",
			Function: chat.FunctionCall{Name: "read_file", Arguments: `{"path": "sales.csv"}`},
		}},
		ToolCallID: "call_0", Name: "list_dir",
	}
}
