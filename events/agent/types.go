package agent

import (
	"time"

	"github.com/agentos-kernel/agentos/events"
)

const (
	examplePID   = "p06ezc1g3q9v6n4t0h2jw8k5rm4"
	exampleModel = "openai/gpt-5.6-sol"
)

// Types lists the family for registries, goldens and the catalogue.
func Types() []events.Type {
	at := time.Date(2026, time.March, 4, 9, 30, 15, 250000000, time.UTC)
	usage := Usage{
		Steps: 1, ModelCalls: 1, ToolCalls: 2, InputTokens: 1824, CachedTokens: 1024, OutputTokens: 96,
		CostMicroUSD: 2310, Counted: true,
	}
	return []events.Type{
		events.TypeOf("A process was made; its stream begins.", Spawned{
			Name: "reporter", Task: "Sum the sales and write a report.", System: "You are careful with numbers.",
			Mode: ModeTask, Model: exampleModel, Tools: []string{"read_file", "replay/airline"}, Priority: 50,
			Limits: Limits{
				MaxSteps: 20, MaxTokens: 200000, MaxCostMicroUSD: 500000, MaxOutputTokens: 4096,
				IdleSeconds: 900, StepSeconds: 120,
			},
			Workspace: "/srv/agents/reporter", Parent: examplePID, ContextTokens: 400000,
		}),
		events.TypeOf("The process may make one step: one model call with the tool calls it asks for.", StepGranted{
			Step: 2, Epoch: 1, After: After{LLM: 2, Tool: 3}, Model: exampleModel, RemainingSteps: 19,
			RemainingTokens: 198080, RemainingMicro: 497690, MaxOutputTokens: 4096, ContextTokens: 400000,
			Tools: []string{"read_file", "replay/airline"}, Deadline: at,
		}),
		events.TypeOf("A step is over: its calls have all ended and are charged.",
			StepSettled{Step: 2, Usage: usage, After: After{LLM: 4, Tool: 9}}),
		events.TypeOf("The scheduler has seen a model or tool call of the current step end.", CallObserved{
			Step: 2, Family: string(events.LLM), Version: 4, Outcome: "finished", Code: "unavailable", ToolCalls: 2,
			Answer: "The total is 42.", Reason: "the recording ends here", Final: true, Usage: usage,
		}),
		events.TypeOf("A message is in the mailbox of the process.",
			MessageReceived{MessageID: "m-1", Content: "Use the second quarter only."}),
		events.TypeOf("A message enters the context with the grant of a step.",
			MessageDelivered{MessageID: "m-1", Content: "Use the second quarter only.", Step: 3}),
		events.TypeOf("The process does not run, and says what it waits for.", Waiting{Reason: WaitMessage, Until: at}),
		events.TypeOf("Somebody asked for the end of the process.", SignalReceived{Signal: "terminate", Deadline: at}),
		events.TypeOf("The process ended with a result.", Completed{Result: "The report is in report.md.", Reason: "answered"}),
		events.TypeOf("The process ended with an error.", Failed{Reason: "the step limit of 20 is used up", Code: "quota"}),
		events.TypeOf("The process was ended by a signal or by the idle limit.",
			Terminated{Reason: "no message for 900 s", Signal: "terminate"}),
	}
}
