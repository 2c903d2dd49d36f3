package httpapi

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// catalogue knows which models and tools can be named. It reads what the gateway and the tools service
// have published last from the event store, at most once a second.
type catalogue struct {
	rt Runtime
	db eventstore.Querier

	began time.Time

	mu     sync.Mutex
	at     time.Time
	models []llm.Model
	tools  map[string]struct{}
	ready  bool
}

const catalogueAge = time.Second

func newCatalogue(rt Runtime, db eventstore.Querier) *catalogue {
	return &catalogue{rt: rt, db: db, began: time.Now()}
}

// How long a request waits for a gateway or a tools service that has just started, and how often it looks.
const (
	catalogueWait = 5 * time.Second
	catalogueLook = 50 * time.Millisecond
	// catalogueSettle is how long after a start a name that is not known may be one of the catalogues that
	// are published just now: until then those of the last run are all there is.
	catalogueSettle = 2 * time.Second
)

// check says whether model and tools exist, and how large the model's window is, in tokens; 0 when nobody
// knows. Right after a start the catalogues may not be published yet: it waits for them a while.
func (c *catalogue) check(ctx context.Context, model string, tools []string) (int, error) {
	limit := time.NewTimer(catalogueWait)
	defer limit.Stop()
	for {
		size, err := c.checkNow(ctx, model, tools)
		early := fault.Is(err, fault.Invalid) && time.Since(c.began) < catalogueSettle
		if !early && !fault.Is(err, fault.Unavailable) {
			return size, err
		}
		select {
		case <-time.After(catalogueLook):
		case <-limit.C:
			return size, err
		case <-ctx.Done():
			return size, err
		}
	}
}

// checkNow is check without waiting.
func (c *catalogue) checkNow(ctx context.Context, model string, tools []string) (int, error) {
	const op = "scheduler.spawn"
	c.mu.Lock()
	defer c.mu.Unlock()
	size, known, missing := c.lookUp(model, tools)
	if !c.ready || !known || missing != "" {
		if err := c.refresh(ctx); err != nil {
			return 0, err
		}
		size, known, missing = c.lookUp(model, tools)
	}
	switch {
	case !c.ready:
		return 0, fault.New(fault.Unavailable, op, "the models and tools are not known yet: the gateway or the tools service has not started").
			WithFix("try again in a moment")
	case !known:
		return 0, fault.Newf(fault.Invalid, op, "unknown model %q", model).
			WithFix("use one of: " + c.modelNames() + "; for others set OPENAI_API_KEY or OPENAI_BASE_URL, or start Ollama")
	case missing != "":
		return 0, fault.Newf(fault.Invalid, op, "unknown tool %q", missing).WithFix("GET /v1/tools lists the tools")
	}
	return size, nil
}

func (c *catalogue) lookUp(model string, tools []string) (size int, known bool, missing string) {
	for _, m := range c.models {
		prefix, wild := strings.CutSuffix(m.ID, "*")
		if m.ID == model || (wild && strings.HasPrefix(model, prefix) && model != prefix) {
			size, known = m.ContextTokens, true
			break
		}
	}
	for _, t := range tools {
		if _, ok := c.tools[t]; !ok {
			return size, known, t
		}
	}
	return size, known, ""
}

func (c *catalogue) modelNames() string {
	names := make([]string, 0, len(c.models))
	for _, m := range c.models {
		names = append(names, m.ID)
	}
	if len(names) > 20 {
		names = append(names[:20], "…")
	}
	return strings.Join(names, ", ")
}

func (c *catalogue) refresh(ctx context.Context) error {
	if time.Since(c.at) < catalogueAge && c.ready {
		return nil
	}
	models, ok1, err := newest[llm.CatalogPublished](ctx, c, events.LLM.Stream("registry"))
	if err != nil {
		return err
	}
	tools, ok2, err := newest[tool.RegistryPublished](ctx, c, events.Tool.Stream("registry"))
	if err != nil {
		return err
	}
	c.models, c.tools = models.Models, map[string]struct{}{}
	for _, set := range tools.Sets {
		c.tools[set.Name] = struct{}{}
		if set.Name == "builtin" {
			for _, t := range set.Tools {
				c.tools[t.Spec.Name] = struct{}{}
			}
		}
	}
	c.at, c.ready = time.Now(), ok1 && ok2
	return nil
}

func newest[T events.Event](ctx context.Context, c *catalogue, stream string) (T, bool, error) {
	var zero T
	rec, err := eventstore.Last(ctx, c.db, events.DefaultTenant, stream, zero.Kind())
	if err != nil || rec == nil {
		return zero, false, err
	}
	e, err := c.rt.Decode(*rec)
	if err != nil {
		return zero, false, fault.Wrap(fault.Internal, "scheduler.catalogue", "cannot read "+stream, err)
	}
	v, ok := e.(T)
	return v, ok, nil
}
