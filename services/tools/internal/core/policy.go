package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// The rules of the policy, in the order they are asked. What no rule allows is denied.
const (
	RuleProcess   = "process-alive"   // a process that is over starts nothing
	RuleCount     = "calls-per-reply" // bounded
	RuleGranted   = "tool-granted"    // the tool is among those of the spawn
	RuleArguments = "arguments"       // they are JSON and fit the tool's schema
	RuleAllow     = "spawn-grants"    // all of the above hold
)

const (
	// MaxCallsPerReply bounds the calls of one reply that are run; more are denied.
	MaxCallsPerReply = 64
	// MaxAttempts bounds how often a call is started: one that takes the kernel down with it each time
	// must end.
	MaxAttempts = 10
	// CodeInDoubt ends a call of which nobody knows whether it happened and that must not happen twice.
	CodeInDoubt = "in_doubt"
)

// verdict is the policy's decision about one request. The zero code means allow.
type verdict struct {
	rule, reason, code, class string
}

// judge is the policy: default deny. Reasons of a denial are for the model: what is wrong, what to do.
func judge(p Process, index int, r Request) verdict {
	name := r.Call.Function.Name
	t, granted := p.Tools[name]
	switch {
	case p.Ended:
		return verdict{RuleProcess, "the process is over: " + p.Why, fault.Denied.String(), t.Class}
	case index >= MaxCallsPerReply:
		return verdict{
			RuleCount, fmt.Sprintf("one reply may call %d tools. Call the others in the next one.", MaxCallsPerReply),
			fault.Denied.String(), t.Class,
		}
	case !granted:
		return verdict{RuleGranted, notGranted(p, name), fault.Denied.String(), ""}
	case r.Mistakes != "":
		return verdict{RuleArguments, r.Mistakes, fault.Invalid.String(), t.Class}
	}
	return verdict{rule: RuleAllow, reason: "the tool is among those of the process and the arguments fit its schema", class: t.Class}
}

func notGranted(p Process, name string) string {
	if len(p.Tools) == 0 {
		return fmt.Sprintf("there is no tool %q: this process has no tools. Answer without one.", name)
	}
	return fmt.Sprintf("there is no tool %q for this process. Use one of: %s.",
		name, strings.Join(slices.Sorted(maps.Keys(p.Tools)), ", "))
}

// rerunnable reports whether an attempt whose outcome is unknown may simply be made again.
func rerunnable(class string) bool { return class == tool.Pure || class == tool.Idempotent }
