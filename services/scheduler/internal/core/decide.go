package core

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// The outcomes of a call as the scheduler notes them.
const (
	Finished  = "finished"
	Errored   = "failed"
	Cancelled = "cancelled"
	Refused   = "refused"
)

// Bounds of what a request may ask for.
const (
	MaxTaskBytes     = 256 << 10
	MaxMessageBytes  = 256 << 10
	MaxNameBytes     = 128
	MaxMail          = 1000 // messages that wait for delivery
	LowestPriority   = 100
	DefaultPriority  = 50
	DefaultMaxSteps  = 50
	DefaultTokens    = 2_000_000
	DefaultOutput    = 4096
	DefaultIdle      = 3600
	DefaultStepLimit = 600
	mostSteps        = 10_000
	mostSeconds      = 7 * 24 * 3600
)

// Defaults fills what a spawn request leaves open.
func Defaults(s agent.Spawned) agent.Spawned {
	l := &s.Limits
	for _, d := range []struct {
		v   *int
		def int
	}{
		{&l.MaxSteps, DefaultMaxSteps},
		{&l.MaxOutputTokens, DefaultOutput},
		{&l.IdleSeconds, DefaultIdle},
		{&l.StepSeconds, DefaultStepLimit},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if l.MaxTokens == 0 {
		l.MaxTokens = DefaultTokens
	}
	if s.Mode == "" {
		s.Mode = agent.ModeTask
	}
	if s.Name == "" {
		s.Name = "agent"
	}
	return s
}

// Validate says what is wrong with a spawn request, all of it at once, or nil. Model, tools and
// workspace are checked by the caller, who knows what there is.
func Validate(s agent.Spawned) error {
	var wrong, fixes []string
	bad := func(fix, format string, args ...any) {
		wrong, fixes = append(wrong, fmt.Sprintf(format, args...)), append(fixes, fix)
	}
	if strings.TrimSpace(s.Task) == "" {
		bad("say in task what the agent should do", "task is empty")
	}
	if len(s.Task) > MaxTaskBytes {
		bad("put long material into files of the workspace", "task has %d bytes, at most %d are allowed", len(s.Task), MaxTaskBytes)
	}
	if len(s.System) > MaxTaskBytes {
		bad("put long material into files of the workspace", "system has %d bytes, at most %d are allowed", len(s.System), MaxTaskBytes)
	}
	if len(s.Name) > MaxNameBytes || strings.ContainsFunc(s.Name, func(r rune) bool { return r < ' ' }) {
		bad("shorten the name", "name must be one line of at most %d bytes", MaxNameBytes)
	}
	if s.Priority < 0 || s.Priority > LowestPriority {
		bad("give a priority of 0 (runs first) to 100 (runs last), or leave it out for 50", "priority is %d, it must be 0 to %d", s.Priority, LowestPriority)
	}
	if s.Mode != agent.ModeTask && s.Mode != agent.ModeConversation {
		bad("leave mode out for a task", "mode is %q, it must be %q or %q", s.Mode, agent.ModeTask, agent.ModeConversation)
	}
	if s.Model == "" {
		bad("name a model as provider/model; GET /v1/models lists them", "model is empty")
	}
	if s.Workspace != "" && (!path.IsAbs(s.Workspace) || path.Clean(s.Workspace) != s.Workspace) {
		bad("write the workspace as an absolute path without . and ..", "workspace must be an absolute, clean path")
	}
	limits(s.Limits, bad)
	if len(wrong) > 0 {
		return fault.New(fault.Invalid, "scheduler.spawn", strings.Join(wrong, "; ")).WithFix(strings.Join(fixes, "; "))
	}
	return nil
}

// limits says what is wrong with the limits of a spawn request.
func limits(l agent.Limits, bad func(fix, format string, args ...any)) {
	const fix = "give the limits within their bounds, or leave them out for the defaults; GET /openapi.yaml names both"
	if l.MaxSteps < 1 || l.MaxSteps > mostSteps {
		bad(fix, "limits.max_steps must be 1 to %d", mostSteps)
	}
	if l.MaxTokens < 1 || l.MaxOutputTokens < 1 || l.MaxCostMicroUSD < 0 {
		bad(fix, "limits must not be negative")
	}
	if l.IdleSeconds < 1 || l.IdleSeconds > mostSeconds || l.StepSeconds < 1 || l.StepSeconds > mostSeconds {
		bad(fix, "limits.idle_seconds and limits.step_seconds must be 1 to %d", mostSeconds)
	}
}

// Spawn begins a process. Spawning the same process again changes nothing.
func Spawn(s State, spawn agent.Spawned) ([]events.Event, error) {
	if s.Exists() {
		return nil, nil
	}
	if err := Validate(spawn); err != nil {
		return nil, err
	}
	return []events.Event{spawn}, nil
}

// Grant lets a ready process make its next step, or ends it when a limit is used up. The mail that
// waits is delivered with the grant, so that it never falls between a tool call and its result.
func Grant(s State, now time.Time) []events.Event {
	if s.Status != Ready {
		return nil
	}
	if e := overLimit(s); e != nil {
		return []events.Event{*e}
	}
	l, step := s.Spawn.Limits, s.Step+1
	out := make([]events.Event, 0, len(s.Mail)+1)
	for _, m := range s.Mail {
		out = append(out, agent.MessageDelivered{MessageID: m.MessageID, Content: m.Content, Step: step})
	}
	micro := int64(-1)
	if l.MaxCostMicroUSD > 0 {
		micro = l.MaxCostMicroUSD - s.Usage.CostMicroUSD
	}
	return append(out, agent.StepGranted{
		Step: step, Epoch: s.Epoch + 1, After: s.After, Model: s.Spawn.Model, Tools: s.Spawn.Tools,
		RemainingSteps: l.MaxSteps - s.Usage.Steps, RemainingTokens: l.MaxTokens - tokens(s.Usage),
		RemainingMicro: micro, MaxOutputTokens: l.MaxOutputTokens, ContextTokens: s.Spawn.ContextTokens,
		Deadline: now.Add(time.Duration(l.StepSeconds) * time.Second),
	})
}

func tokens(u agent.Usage) int64 { return u.InputTokens + u.OutputTokens }

func overLimit(s State) *agent.Failed {
	l := s.Spawn.Limits
	quota := fault.Quota.String()
	switch {
	case s.Usage.Steps >= l.MaxSteps:
		return &agent.Failed{Code: quota, Reason: fmt.Sprintf("step limit reached: %d of %d steps used", s.Usage.Steps, l.MaxSteps)}
	case tokens(s.Usage) >= l.MaxTokens:
		return &agent.Failed{Code: quota, Reason: fmt.Sprintf("token limit reached: %d of %d tokens used", tokens(s.Usage), l.MaxTokens)}
	case l.MaxCostMicroUSD > 0 && s.Usage.CostMicroUSD >= l.MaxCostMicroUSD:
		return &agent.Failed{Code: quota, Reason: fmt.Sprintf("cost limit reached: $%.6f of $%.6f used",
			float64(s.Usage.CostMicroUSD)/1e6, float64(l.MaxCostMicroUSD)/1e6)}
	}
	return nil
}

// Observe notes that a call has ended and, when it was the last one of the step, settles the step and
// decides what follows. A call observed before changes nothing; what ends after the process has is
// only charged.
func Observe(s State, o agent.CallObserved, now time.Time) []events.Event {
	if !s.Exists() || seen(s, o) {
		return nil
	}
	out := []events.Event{o}
	if s.Status != Running || o.Step != s.Step {
		return out
	}
	s = Evolve(s, o)
	if !s.stepDone() {
		return out
	}
	settled := agent.StepSettled{Step: s.Step, Usage: s.StepUsage, After: s.After}
	return append(append(out, settled), next(Evolve(s, settled), now)...)
}

func seen(s State, o agent.CallObserved) bool {
	if o.Family == string(events.LLM) {
		return o.Version <= s.After.LLM
	}
	return o.Version <= s.After.Tool
}

// next is what follows a settled step besides another one: nothing means the process is ready.
func next(s State, now time.Time) []events.Event {
	o := s.Outcome
	switch {
	case s.Signal.Signal != "":
		return []events.Event{agent.Terminated{Signal: s.Signal.Signal, Reason: "asked to end by a signal"}}
	case o.Final:
		return []events.Event{agent.Completed{Result: s.Answer, Reason: o.Reason}}
	case o.Outcome != Finished:
		return []events.Event{agent.Failed{Code: failureCode(o), Reason: "model call " + o.Outcome + ": " + o.Reason}}
	case o.ToolCalls > 0, len(s.Mail) > 0:
		return nil
	case s.Spawn.Mode == agent.ModeConversation:
		until := now.Add(time.Duration(s.Spawn.Limits.IdleSeconds) * time.Second)
		return []events.Event{agent.Waiting{Reason: agent.WaitMessage, Until: until}}
	}
	return []events.Event{agent.Completed{Result: s.Answer, Reason: "answered"}}
}

// failureCode is the fault kind a process fails with for an observed call.
func failureCode(o agent.CallObserved) string {
	switch {
	case o.Code != "":
		return o.Code
	case o.Outcome == Refused:
		return fault.Denied.String()
	case o.Outcome == Cancelled:
		return fault.Canceled.String()
	}
	return fault.Internal.String()
}

// WindowRefused ends the step of a process whose context does not fit its model.
func WindowRefused(s State, step int, reason string) []events.Event {
	if s.Status != Running || s.Step != step {
		return nil
	}
	return []events.Event{agent.Failed{Code: fault.Quota.String(), Reason: reason}}
}

// Message puts a message into the mailbox.
func Message(s State, m agent.MessageReceived) ([]events.Event, error) {
	const op = "scheduler.message"
	if strings.TrimSpace(m.Content) == "" || len(m.Content) > MaxMessageBytes {
		return nil, fault.Newf(fault.Invalid, op, "content must have 1 to %d bytes that are not all blank", MaxMessageBytes).
			WithFix("write what the process should be told; put long material into files of the workspace")
	}
	if err := alive(s, op); err != nil {
		return nil, err
	}
	if len(s.Mail) >= MaxMail {
		return nil, fault.Newf(fault.Quota, op, "the mailbox is full: %d messages wait", len(s.Mail)).
			WithFix("wait until the process has taken some, or end it")
	}
	for _, have := range s.Mail {
		if have.MessageID == m.MessageID {
			return nil, nil
		}
	}
	return []events.Event{m}, nil
}

func alive(s State, op string) error {
	if !s.Exists() {
		return fault.New(fault.NotFound, op, "no such process").WithFix("`agentos ps` lists the processes")
	}
	if s.Status.Ended() {
		return fault.Newf(fault.Conflict, op, "the process has ended: %s", s.Status).WithFix("start a new one")
	}
	return nil
}

// The signals.
const (
	SignalTerminate = "terminate" // end at the next step boundary, at the latest after the grace time
	SignalKill      = "kill"      // end now
)

// Signal asks a process to end.
func Signal(s State, signal string, deadline time.Time) ([]events.Event, error) {
	const op = "scheduler.signal"
	if signal != SignalTerminate && signal != SignalKill {
		return nil, fault.Newf(fault.Invalid, op, "signal is %q, it must be %q or %q", signal, SignalTerminate, SignalKill).
			WithFix("send terminate to let the step end within the grace time, kill to end it now")
	}
	if err := alive(s, op); err != nil {
		return nil, err
	}
	received := agent.SignalReceived{Signal: signal, Deadline: deadline}
	switch {
	case signal == SignalKill, !s.InStep():
		return []events.Event{received, agent.Terminated{Signal: signal, Reason: "ended by signal " + signal}}, nil
	case s.Signal.Signal != "":
		return nil, nil // it is on its way already
	}
	return []events.Event{received}, nil
}

// Timer ends a process whose idle limit or grace time is over.
func Timer(s State, now time.Time) []events.Event {
	at := s.TimerAt()
	if at.IsZero() || now.Before(at) {
		return nil
	}
	if s.Signal.Signal != "" {
		return []events.Event{agent.Terminated{Signal: SignalKill, Reason: "the grace time of signal " + s.Signal.Signal + " is over"}}
	}
	return []events.Event{agent.Terminated{
		Signal: SignalTerminate,
		Reason: fmt.Sprintf("no message for %d s (limits.idle_seconds)", s.Spawn.Limits.IdleSeconds),
	}}
}
