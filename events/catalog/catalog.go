// Package catalog joins all families into one registry.
package catalog

import (
	"slices"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/audit"
	"github.com/agentos-kernel/agentos/events/context"
	"github.com/agentos-kernel/agentos/events/learning"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
)

//go:generate go run ../internal/gen

// Types lists every event type of every family.
func Types() []events.Type {
	return slices.Concat(agent.Types(), context.Types(), llm.Types(), tool.Types(), audit.Types(), learning.Types())
}

// New is the registry of all families.
func New() (*events.Registry, error) { return events.NewRegistry(Types()...) }
