// Package calls runs model calls: it holds the requests of the calls that run in this replica, asks
// their providers, streams what they say and says how each call ended.
package calls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/tokens"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
)

// Job is one attempt of one call with all it needs.
type Job struct {
	Tenant       string
	PID          string
	Call         llm.Call
	Model        string // "provider/model"
	ProviderName string
	Provider     provider.Provider
	Request      provider.Request
	Price        core.Price
	PromptTokens int64         // counted by us
	Limit        time.Duration // of the whole attempt; 0: none
}

// endedError is the cause of a cancelled call.
type endedError struct{ reason string }

func (e endedError) Error() string { return e.reason }

// Ended is the cause to cancel a call with when nobody wants its answer any more.
func Ended(reason string) error { return endedError{reason} }

// Calls runs jobs. It is safe for concurrent use.
type Calls struct {
	tracer trace.Tracer
	log    *slog.Logger
	deltas *deltas
	now    func() time.Time

	mu   sync.Mutex
	jobs map[string]Job    // by tenant and call id
	open map[string]string // by tenant and pid: the call id
}

// New makes an empty one. publish sends a message about token deltas; nil sends none.
func New(tracer trace.Tracer, log *slog.Logger, publish Publish) *Calls {
	return &Calls{
		tracer: tracer, log: log, deltas: newDeltas(publish, log), now: time.Now,
		jobs: map[string]Job{}, open: map[string]string{},
	}
}

func join(tenant, id string) string { return tenant + "\x00" + id }

// Put holds a job until Run takes it or Drop drops it.
func (c *Calls) Put(j Job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs[join(j.Tenant, j.Call.ID)] = j
	c.open[join(j.Tenant, j.PID)] = j.Call.ID
}

// Drop forgets a job whose start did not commit.
func (c *Calls) Drop(tenant, callID string, attempt int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := join(tenant, callID)
	if j, ok := c.jobs[k]; ok && j.Call.Attempt == attempt {
		delete(c.jobs, k)
		delete(c.open, join(tenant, j.PID))
	}
}

// Open is the id of the call of a process that is held or runs here, or "".
func (c *Calls) Open(tenant, pid string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[join(tenant, pid)]
}

func (c *Calls) job(tenant, callID string, attempt int) (Job, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j, ok := c.jobs[join(tenant, callID)]
	return j, ok && j.Call.Attempt == attempt
}

// Run makes the call and returns how it ended: a core.Finish, core.Fail or core.Cancel. It never
// returns before the provider's connection is closed.
func (c *Calls) Run(ctx context.Context, tenant, callID string, attempt int) core.Command {
	j, ok := c.job(tenant, callID, attempt)
	if !ok {
		return core.Fail{
			Call: llm.Call{ID: callID, Attempt: attempt}, Code: fault.Internal.String(),
			Reason: "the request of the call is no longer in memory",
		}
	}
	defer c.Drop(tenant, callID, attempt)
	if j.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, j.Limit)
		defer cancel()
	}
	ctx, span := c.span(ctx, j)
	defer span.End()
	out := c.deltas.open(j)
	defer out.close()

	start := c.now()
	var reply provider.Reply
	err := ctx.Err()
	if err == nil { // it may have been stopped while it waited for its turn
		reply, err = j.Provider.Complete(ctx, j.Request, out.add)
	}
	took := c.now().Sub(start)
	end := outcome(ctx, j, reply, err, took)
	record(span, reply, end, err)
	if err != nil && fault.KindOf(err) != fault.Canceled {
		c.log.WarnContext(ctx, "model call failed", "call_id", callID, "attempt", attempt, "model", j.Model,
			"kind", fault.KindOf(err).String(), "tries", reply.Tries)
	}
	return end
}

// outcome is how a call ended.
func outcome(ctx context.Context, j Job, reply provider.Reply, err error, took time.Duration) core.Command {
	u := charge(j, reply, err)
	var ended endedError
	switch {
	case err == nil:
		return core.Finish{
			Call: j.Call, Message: reply.Message, FinishReason: reply.FinishReason, Usage: u,
			FirstTokenMS: reply.FirstToken.Milliseconds(), DurationMS: took.Milliseconds(), Tries: reply.Tries,
		}
	case errors.As(context.Cause(ctx), &ended):
		return core.Cancel{Call: j.Call, Reason: ended.reason, Usage: u}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return core.Fail{
			Call: j.Call, Code: fault.Unavailable.String(), Usage: u,
			Reason: fmt.Sprintf("no whole answer within %s; start the agent with a larger step_seconds or fewer max_output_tokens", j.Limit),
		}
	case ctx.Err() != nil:
		return core.Cancel{Call: j.Call, Reason: "the call was stopped", Usage: u}
	}
	return core.Fail{Call: j.Call, Code: fault.KindOf(err).String(), Reason: Reason(err), Usage: u}
}

// Reason is an error for people: what went wrong and how to mend it. Causes stay in the log.
func Reason(err error) string {
	msg := err.Error()
	if f, ok := errors.AsType[*fault.Error](err); ok {
		msg = f.Msg
	}
	if fix := fault.FixOf(err); fix != "" {
		msg = strings.TrimRight(msg, ".") + "; " + fix
	}
	return msg
}

// charge is the usage of a call: the provider's own figures where it gives them, else what we count.
func charge(j Job, reply provider.Reply, err error) llm.Usage {
	u := reply.Usage
	if !reply.Reported {
		u = llm.Usage{}
		if err == nil || begun(reply.Message) || (fault.Is(err, fault.Canceled) && reply.Tries > 0) {
			u = llm.Usage{InputTokens: j.PromptTokens, Counted: true, Unknown: err != nil && !free(j.Price)}
			if begun(reply.Message) {
				u.OutputTokens = int64(tokens.Message(j.Model, reply.Message))
			}
		}
	}
	if u != (llm.Usage{}) {
		u = j.Price.Apply(u)
		u.CostMicroUSD += j.Price.WriteExtra(reply.CacheWritten)
	}
	for _, l := range reply.Lost {
		u = core.Add(u, j.Price.Apply(llm.Usage{
			InputTokens: j.PromptTokens, OutputTokens: int64(tokens.Message(j.Model, l.Message)), Counted: true, Unknown: !free(j.Price),
		}))
	}
	return u
}

func free(p core.Price) bool { return p == core.Price{Known: true} }

func begun(m chat.Message) bool {
	return m.Content != nil || m.Reasoning != nil || len(m.ToolCalls) > 0
}
