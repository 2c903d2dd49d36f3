package learning

import "github.com/agentos-kernel/agentos/events"

// Types lists the family for registries, goldens and the catalogue.
func Types() []events.Type {
	return []events.Type{
		events.TypeOf("The trajectory of an ended process is whole.", TrajectoryClosed{
			Name: "reporter", Outcome: "completed", Steps: 3, ToolCalls: 4, InputTokens: 5210, OutputTokens: 318,
			CostMicroUSD: 7040,
		}),
	}
}
