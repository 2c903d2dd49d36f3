// Package drive runs the conversations of a cassette as processes of a kernel: the gateway answers each
// model call with the recorded reply, the tools with the recorded results, and the driver sends each
// recorded user turn to the waiting process. It works through HTTP alone and goes on where it was when
// the kernel is restarted under it.
package drive

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events/agent"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/events/tool"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Report is what a run has shown. Tokens and cost are counted by the kernel, not billed by anybody.
type Report struct {
	Processes   int
	Identical   int // transcripts equal to the recording, message for message
	Completed   int
	PIDs        []string
	ModelCalls  int
	ToolCalls   int
	Input       int64
	Output      int64
	Seconds     float64
	StepMS      []float64 // kernel time of each step: its wall time without the time of model and tools
	Differences []string  // one line for each transcript that differs
}

// Options choose how a run goes.
type Options struct {
	Prefix string            // of the Idempotency-Keys: a second run with the same one begins nothing new
	Line   func(line string) // told of each process that has ended; may be nil
}

// Run runs the conversations all at once and compares their transcripts.
func Run(ctx context.Context, c *client.Client, tape *cassette.Cassette, conversations []cassette.Conversation, o Options) (Report, error) {
	start := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	r := Report{Processes: len(conversations)}
	var first error
	for _, conv := range conversations {
		wg.Go(func() {
			one, err := runOne(ctx, c, tape.Header.Name, conv, o)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if first == nil {
					first = fmt.Errorf("conversation %s: %w", conv.ID, err)
				}
				return
			}
			r.add(one)
			if o.Line != nil {
				o.Line(one.line(conv.ID))
			}
		})
	}
	wg.Wait()
	r.Seconds = time.Since(start).Seconds()
	return r, first
}

func (r *Report) add(o outcome) {
	if o.difference == "" {
		r.Identical++
	} else {
		r.Differences = append(r.Differences, o.difference)
	}
	if o.agent.State == api.StateCompleted {
		r.Completed++
	}
	r.PIDs = append(r.PIDs, o.agent.PID)
	r.ModelCalls += o.agent.Usage.ModelCalls
	r.ToolCalls += o.agent.Usage.ToolCalls
	r.Input += o.agent.Usage.InputTokens
	r.Output += o.agent.Usage.OutputTokens
	r.StepMS = append(r.StepMS, o.steps...)
}

// Percentile is the p-th percentile (0–100) of the steps' kernel time in milliseconds.
func (r *Report) Percentile(p float64) float64 {
	if len(r.StepMS) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(r.StepMS))
	return s[min(len(s)-1, int(p/100*float64(len(s))))]
}

type outcome struct {
	agent      api.Agent
	steps      []float64
	difference string
}

func (o outcome) line(id string) string {
	same := "identical"
	if o.difference != "" {
		same = "DIFFERS"
	}
	return fmt.Sprintf("%s  conversation %-4s %-10s %3d model calls %3d tool calls %7d tokens counted  %s", o.agent.PID, id,
		o.agent.State, o.agent.Usage.ModelCalls, o.agent.Usage.ToolCalls, o.agent.Usage.InputTokens+o.agent.Usage.OutputTokens, same)
}

// runOne runs one conversation to its end.
func runOne(ctx context.Context, c *client.Client, name string, conv cassette.Conversation, o Options) (outcome, error) {
	system, users := turns(conv.Messages)
	if len(users) == 0 {
		return outcome{}, fault.New(fault.Invalid, "drive", "the conversation has no user message")
	}
	key := o.Prefix + "/" + conv.ID
	var spawned api.Agent
	err := Insist(ctx, func() (err error) {
		spawned, err = c.Spawn(client.WithKey(ctx, key), api.AgentSpec{
			Name: name, System: system, Task: users[0], Mode: api.ModeConversation, Model: "replay/" + name,
			Tools: []string{"replay/" + name}, Limits: api.Limits{MaxSteps: 500, MaxTokens: 50_000_000},
		})
		return err
	})
	if err != nil {
		return outcome{}, err
	}
	f := &conversation{client: c, pid: spawned.PID, key: key, users: users, received: 1, clock: newStepClock()}
	// A kernel that is restarted ends the stream; it goes on behind the last event seen.
	err = Insist(ctx, func() error {
		return c.Follow(ctx, f.pid, f.after, false, func(m client.Message) error { return f.see(ctx, m) })
	})
	if err != nil {
		return outcome{}, err
	}
	return finish(ctx, c, spawned.PID, conv, f.clock)
}

// conversation is one process while it is driven.
type conversation struct {
	client   *client.Client
	pid, key string
	users    []string // the recorded user turns
	received int      // of them, by the process
	after    int64    // position of the last event seen
	clock    *stepClock
}

// see takes one event; a process that waits is sent its next user turn.
func (f *conversation) see(ctx context.Context, m client.Message) error {
	if m.Event == nil {
		return nil
	}
	switch m.Event.Kind {
	case "agent.message_received":
		f.received++
	case "agent.waiting":
		if f.received >= len(f.users) {
			return fault.Newf(fault.Internal, "drive", "%s waits for a message the recording does not have", f.pid)
		}
		err := Insist(ctx, func() error {
			_, err := f.client.Send(client.WithKey(ctx, fmt.Sprintf("%s/%d", f.key, f.received)), f.pid, f.users[f.received])
			return err
		})
		if err != nil {
			return err
		}
	}
	f.clock.see(*m.Event)
	f.after = m.Event.Position
	return nil
}

func finish(ctx context.Context, c *client.Client, pid string, conv cassette.Conversation, clock *stepClock) (out outcome, err error) {
	err = Insist(ctx, func() (err error) {
		if out.agent, err = c.Agent(ctx, pid); err != nil {
			return err
		}
		got, err := c.Context(ctx, pid)
		if err != nil {
			return err
		}
		out.difference = difference(pid, conv, got)
		return nil
	})
	out.steps = clock.steps
	return out, err
}

// turns is the system prompt and the user messages of a recording.
func turns(messages []chat.Message) (system string, users []string) {
	for _, m := range messages {
		switch m.Role {
		case chat.System:
			system = m.String()
		case chat.User:
			users = append(users, m.String())
		}
	}
	return system, users
}

// difference is "" when the transcript is the recording, else where they part.
func difference(pid string, conv cassette.Conversation, got api.Context) string {
	for i, want := range conv.Messages {
		if i >= len(got.Pages) {
			return fmt.Sprintf("%s: conversation %s: the transcript ends after %d of %d messages", pid, conv.ID, len(got.Pages), len(conv.Messages))
		}
		if have := got.Pages[i].Message; string(have.Canonical()) != string(want.Canonical()) {
			return fmt.Sprintf("%s: conversation %s: message %d is %.200s, recorded is %.200s", pid, conv.ID, i, have.Canonical(), want.Canonical())
		}
	}
	if len(got.Pages) > len(conv.Messages) {
		return fmt.Sprintf("%s: conversation %s: %d messages, recorded are %d", pid, conv.ID, len(got.Pages), len(conv.Messages))
	}
	return ""
}

// insistFor bounds how long a kernel may be away: longer than any restart should take.
const insistFor = 2 * time.Minute

// Insist repeats what failed because the kernel is away.
func Insist(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(insistFor)
	for {
		err := f()
		if err == nil || !fault.Is(err, fault.Unavailable) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// stepClock measures the kernel's part of each step from the times in the events.
type stepClock struct {
	granted map[int]time.Time
	outside map[int]time.Duration
	steps   []float64
}

func newStepClock() *stepClock {
	return &stepClock{granted: map[int]time.Time{}, outside: map[int]time.Duration{}}
}

func (s *stepClock) see(e api.Event) {
	switch e.Kind {
	case "agent.step_granted":
		if g, ok := decode[agent.StepGranted](e.Data); ok {
			s.granted[g.Step] = e.Time
		}
	case "llm.call_finished":
		if f, ok := decode[llm.CallFinished](e.Data); ok {
			s.outside[f.Call.Step] += time.Duration(f.DurationMS) * time.Millisecond
		}
	case "tool.call_finished":
		if f, ok := decode[tool.CallFinished](e.Data); ok {
			s.outside[f.Call.Step] += time.Duration(f.DurationUS) * time.Microsecond
		}
	case "agent.step_settled":
		if st, ok := decode[agent.StepSettled](e.Data); ok {
			if at, ok := s.granted[st.Step]; ok {
				s.steps = append(s.steps, float64(e.Time.Sub(at)-s.outside[st.Step])/float64(time.Millisecond))
			}
		}
	}
}

func decode[T any](data json.RawMessage) (T, bool) {
	var v T
	return v, json.Unmarshal(data, &v) == nil
}

// Summary is the report in the lines that `make run` prints.
func (r *Report) Summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "processes %d, model calls %d, tool calls %d, tokens %d in / %d out (counted by the kernel, not billed)\n",
		r.Processes, r.ModelCalls, r.ToolCalls, r.Input, r.Output)
	fmt.Fprintf(&b, "%.2f s, kernel time per step p50 %.1f ms p99 %.1f ms over %d steps\n",
		r.Seconds, r.Percentile(50), r.Percentile(99), len(r.StepMS))
	fmt.Fprintf(&b, "transcripts identical to the recording: %d/%d", r.Identical, r.Processes)
	for _, d := range r.Differences {
		fmt.Fprintf(&b, "\n  %s", d)
	}
	return b.String()
}
