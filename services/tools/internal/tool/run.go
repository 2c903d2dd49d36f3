package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// Limits bound one call.
type Limits struct {
	Timeout     time.Duration
	OutputBytes int
}

// Outcome is how a call ended: with a result, with an error (Code is set), or cancelled.
type Outcome struct {
	Result    string
	Truncated bool // Result was cut at the output limit and ends in a note that says so
	Code      string
	Reason    string // for the model: what went wrong and what to do
	Cancelled bool   // the kernel stopped the call
	Duration  time.Duration
}

// Run calls t within the limits and turns whatever happens into an outcome; a panic of the tool is its
// error. A tool that had its result before it saw the end of ctx keeps it: what was done is told as done.
func Run(ctx context.Context, t Tool, env Env, args json.RawMessage, limits Limits) Outcome {
	env.OutputLimit = limits.OutputBytes
	limited, stop := context.WithTimeoutCause(ctx, limits.Timeout, errTimeLimit)
	defer stop()
	begin := time.Now()
	result, err := guarded(limited, t, env, args)
	out := Outcome{Duration: time.Since(begin)}
	switch {
	case err == nil:
		out.Result, out.Truncated = cut(result, limits.OutputBytes)
	case ctx.Err() != nil:
		out.Cancelled = true
		out.Reason = stopReason(context.Cause(ctx))
	case errors.Is(context.Cause(limited), errTimeLimit):
		out.Code = fault.Quota.String()
		out.Reason = fmt.Sprintf("%s was stopped at its time limit of %s. Ask for less in one call.", t.Spec().Name, limits.Timeout)
	default:
		out.Code, out.Reason = Explain(err)
	}
	return out
}

var errTimeLimit = errors.New("time limit of the call")

func guarded(ctx context.Context, t Tool, env Env, args json.RawMessage) (result string, err error) {
	defer func() {
		if r := recover(); r != nil {
			result, err = "", fault.Newf(fault.Internal, "tool.run", "%s broke", t.Spec().Name).
				WithFix("This is a defect of the tool. Go on without it.")
		}
	}()
	if ctx.Err() != nil {
		return "", fault.Wrap(fault.Canceled, "tool.run", "the call was stopped", ctx.Err())
	}
	return t.Call(ctx, env, args)
}

// stopReason is why a call was stopped, from the cause its context was cancelled with.
func stopReason(cause error) string {
	if e, ok := errors.AsType[*fault.Error](cause); ok {
		return e.Msg
	}
	return "the call was stopped"
}

// Explain is an error as the model sees it: the kind's label, and message and fix. Causes stay inside:
// they name paths and parts of the machine.
func Explain(err error) (code, reason string) {
	var e *fault.Error
	if !errors.As(err, &e) {
		return fault.Internal.String(), "the tool failed. Go on without it."
	}
	reason = e.Msg
	if fix := fault.FixOf(err); fix != "" {
		reason = strings.TrimSuffix(reason, ".") + ". " + fix
	}
	return e.Kind.String(), reason
}

// cut keeps text within limit bytes; what is cut ends in a note, at a character's boundary.
func cut(text string, limit int) (string, bool) {
	if len(text) <= limit {
		return text, false
	}
	note := fmt.Sprintf("\n[output cut at %d bytes: ask for less]", limit)
	end := max(0, limit-len(note))
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + note, true
}
