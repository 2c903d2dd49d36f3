package handle

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/agentos-kernel/agentos/libs/effect"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/tools/internal/tool"
)

// job is an attempt that was decided and waits for its worker.
type job struct {
	tool tool.Tool
	args json.RawMessage
	env  tool.Env
}

type jobKey struct {
	tenant, callID string
	attempt        int
}

// jobs hands what a decision knew to the worker that runs it. It holds as many as there are leases of
// attempts that have not begun.
type jobs struct {
	mu      sync.Mutex
	waiting map[jobKey]job
}

type rollbacker interface{ OnRollback(f func()) }

func (j *jobs) put(u rollbacker, k jobKey, v job) {
	j.mu.Lock()
	j.waiting[k] = v
	j.mu.Unlock()
	u.OnRollback(func() { j.take(k) })
}

func (j *jobs) take(k jobKey) (job, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	v, ok := j.waiting[k]
	delete(j.waiting, k)
	return v, ok
}

// run is one attempt, on a worker of the effect runner. Its value is a tool.Outcome.
func (h *Handler) run(ctx context.Context, e effect.Effect) any {
	j, ok := h.jobs.take(jobKey{e.Tenant, e.CallID, e.Attempt})
	if !ok {
		return tool.Outcome{Code: fault.Internal.String(), Reason: "the call was lost by the kernel. Call again."}
	}
	name := j.tool.Spec().Name
	ctx, span := h.cfg.Tracer.Start(ctx, "execute_tool "+name, trace.WithSpanKind(trace.SpanKindInternal), trace.WithAttributes(
		attribute.String("gen_ai.operation.name", "execute_tool"),
		attribute.String("gen_ai.tool.name", name),
		attribute.String("gen_ai.tool.type", "function"),
		attribute.String("gen_ai.tool.call.id", e.CallID),
		attribute.String("agentos.pid", e.Subject),
		attribute.Int("agentos.attempt", e.Attempt),
	))
	defer span.End()
	out := tool.Run(ctx, j.tool, j.env, j.args, h.cfg.Limits)
	switch {
	case out.Cancelled:
		span.SetAttributes(attribute.String("error.type", fault.Canceled.String()))
		span.SetStatus(codes.Error, "cancelled")
	case out.Code != "":
		span.SetAttributes(attribute.String("error.type", out.Code))
		span.SetStatus(codes.Error, out.Code)
	}
	return out
}

// opener opens a process's workspace for one call. A folder named after the process is its own: nobody
// else makes it, so it is made here when it is first needed. A folder of the user's is never made anew.
func opener(pid, folder string) func() (*os.Root, error) {
	return func() (*os.Root, error) {
		const op = "tools.workspace"
		if folder == "" {
			return nil, fault.New(fault.Denied, op, "this process has no workspace").WithFix("Go on without files.")
		}
		if filepath.Base(folder) == pid {
			if err := os.MkdirAll(folder, 0o700); err != nil {
				return nil, fault.Wrap(fault.Unavailable, op, "the workspace cannot be made", err).
					WithFix("Go on without files, and say that the workspace is missing.")
			}
		}
		root, err := os.OpenRoot(folder)
		if err != nil {
			return nil, fault.Wrap(fault.Unavailable, op, "the workspace cannot be opened", err).
				WithFix("Go on without files, and say that the workspace is missing.")
		}
		return root, nil
	}
}
