package tool

import (
	"encoding/json"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
)

const exampleCall = "p06ezc1g3q9v6n4t0h2jw8k5rm4/2/1"

// Types lists the family for registries, goldens and the catalogue.
func Types() []events.Type {
	call := Call{
		ID: exampleCall, Step: 2, Index: 1, Attempt: 1,
		Request: chat.ToolCall{
			ID: "call_1", Type: "function",
			Function: chat.FunctionCall{Name: "read_file", Arguments: `{"path": "sales.csv"}`},
		},
	}
	schema := json.RawMessage(`{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}`)
	return []events.Type{
		events.TypeOf("The policy has decided about a tool call.", CallDecided{
			Call: call, Decision: Allow, Rule: "default/read-only", Reason: "reading in the workspace is allowed", Class: Pure,
		}),
		events.TypeOf("A tool is about to run; committed before anything happens.",
			CallStarted{Call: call, Class: Pure, Layers: []string{"workspace root"}}),
		events.TypeOf("A tool call ended with its result.",
			CallFinished{Call: call, Result: "quarter,amount\nQ2,42\n", Truncated: true, DurationUS: 840}),
		events.TypeOf("A tool call ended with an error that the model is shown.",
			CallFailed{Call: call, Code: "not_found", Reason: "there is no file sales.csv in the workspace"}),
		events.TypeOf("A tool call was stopped.", CallCancelled{Call: call, Reason: "the process was killed"}),
		events.TypeOf("The tools that can be named; the newest one holds.", RegistryPublished{
			Sets: []Set{{
				Name: "builtin",
				Tools: []Tool{{
					Spec:  chat.ToolSpec{Name: "read_file", Description: "Reads a file of the workspace.", Parameters: schema},
					Class: Pure,
				}},
			}},
		}),
	}
}
