// Package toolset finds the definitions of tools that a model call offers, in the registry that the
// tools service publishes.
package toolset

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/tool"
)

// Store reads the stream of the registry.
type Store interface {
	ReadStream(ctx context.Context, tenant, stream string, fromVersion int64) ([]events.Record, error)
	Decode(rec events.Record) (events.Event, error)
}

// fresh is how long the registry is believed before it is looked at again.
const fresh = 2 * time.Second

// registrySubject is what the tools service publishes its registry under.
const registrySubject = "registry"

// Tools is the newest registry that was read. It is safe for concurrent use.
type Tools struct {
	store Store
	now   func() time.Time

	mu      sync.Mutex
	version int64
	read    time.Time
	sets    map[string][]chat.ToolSpec
	single  map[string]chat.ToolSpec // of sets that hold tools for everybody
}

// New makes an empty one; it reads when it is first asked.
func New(store Store, now func() time.Time) *Tools {
	return &Tools{store: store, now: now}
}

// Specs is the definitions of the named tools and tool sets, in the order of the names, each once.
// missing lists the names that the registry does not know.
func (t *Tools) Specs(ctx context.Context, names []string) (specs []chat.ToolSpec, missing []string, err error) {
	if len(names) == 0 {
		return nil, nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now().Sub(t.read) > fresh {
		if err := t.refresh(ctx); err != nil {
			return nil, nil, err
		}
	}
	specs, missing = t.find(names)
	return specs, missing, nil
}

func (t *Tools) find(names []string) (specs []chat.ToolSpec, missing []string) {
	seen := map[string]bool{}
	add := func(s chat.ToolSpec) {
		if !seen[s.Name] {
			seen[s.Name] = true
			specs = append(specs, s)
		}
	}
	for _, name := range names {
		if set, ok := t.sets[name]; ok {
			for _, s := range set {
				add(s)
			}
			continue
		}
		if s, ok := t.single[name]; ok {
			add(s)
			continue
		}
		missing = append(missing, name)
	}
	return specs, missing
}

// refresh reads what was published since. The registry belongs to the installation, not to a tenant.
func (t *Tools) refresh(ctx context.Context) error {
	records, err := t.store.ReadStream(ctx, events.DefaultTenant, events.Tool.Stream(registrySubject), t.version+1)
	if err != nil {
		return fmt.Errorf("read the tool registry: %w", err)
	}
	t.read = t.now()
	if len(records) == 0 {
		return nil
	}
	newest := records[len(records)-1]
	e, err := t.store.Decode(newest)
	if err != nil {
		return fmt.Errorf("read the tool registry: %w", err)
	}
	t.version = newest.StreamVersion
	published, ok := e.(tool.RegistryPublished)
	if !ok {
		return nil
	}
	t.sets, t.single = map[string][]chat.ToolSpec{}, map[string]chat.ToolSpec{}
	for _, set := range published.Sets {
		for _, one := range set.Tools {
			t.sets[set.Name] = append(t.sets[set.Name], one.Spec)
			if !strings.HasPrefix(set.Name, "replay/") {
				t.single[one.Spec.Name] = one.Spec
			}
		}
	}
	return nil
}
