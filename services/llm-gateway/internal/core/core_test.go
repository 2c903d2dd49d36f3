package core_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
)

func fold(s core.State, evs ...events.Event) core.State {
	for _, e := range evs {
		s = core.Evolve(s, e)
	}
	return s
}

// price is 1 and 10 dollars a million tokens.
func price() core.Price {
	return core.Price{Known: true, Input: 1e6, Cached: 1e5, Output: 1e7}
}

func start(step int, change func(*core.Start)) core.Start {
	c := core.Start{
		ID: fmt.Sprintf("p/%d/0", step), Step: step, Epoch: 1, Model: "openai/m", Provider: "openai", WindowHash: "h",
		PromptTokens: 100, WantTokens: 50, RemainingTokens: 1000, RemainingMicro: -1, Price: price(),
	}
	if change != nil {
		change(&c)
	}
	return c
}

func TestStartIsClampedOrRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*core.Start)
		most   int    // output tokens of the call that starts
		code   string // or of the refusal
		says   string
	}{
		{"as granted", nil, 50, "", ""},
		{"no limit granted", func(c *core.Start) { c.WantTokens, c.RemainingTokens = 0, -1 }, core.DefaultMaxTokens, "", ""},
		{"rest of the tokens", func(c *core.Start) { c.RemainingTokens = 110 }, 10, "", ""},
		{"one token left", func(c *core.Start) { c.RemainingTokens = 101 }, 1, "", ""},
		{"no token left", func(c *core.Start) { c.RemainingTokens = 100 }, 0, "quota", "larger max_tokens"},
		{"rest of the context", func(c *core.Start) { c.ContextTokens = 120 }, 20, "", ""},
		{"context full", func(c *core.Start) { c.ContextTokens = 100 }, 0, "quota", "larger context"},
		{"rest of the money", func(c *core.Start) { c.RemainingMicro = 100 + 70 }, 7, "", ""},
		{"money for the prompt only", func(c *core.Start) { c.RemainingMicro = 105 }, 0, "quota", "max_cost_usd"},
		{"no money", func(c *core.Start) { c.RemainingMicro = 0 }, 0, "quota", "max_cost_usd"},
		{"free model, no money", func(c *core.Start) { c.RemainingMicro, c.Price = 0, core.Price{Known: true} }, 50, "", ""},
		{"unknown price, cost limit", func(c *core.Start) { c.RemainingMicro, c.Price = 1e6, core.Price{} }, 0, "denied", "price of openai/m is unknown"},
		{"unknown price, no limit", func(c *core.Start) { c.Price = core.Price{} }, 50, "", ""},
		{"refused outside", func(c *core.Start) { c.Refusal = &core.Refusal{Code: "not_found", Reason: "no such model"} }, 0, "not_found", "no such model"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := start(1, tc.change)
			evs := core.Decide(core.State{}, c)
			if len(evs) != 1 {
				t.Fatalf("facts %+v", evs)
			}
			switch e := evs[0].(type) {
			case llm.CallStarted:
				if tc.code != "" || e.MaxTokens != tc.most || e.ReservedTokens != 100+int64(tc.most) || e.Call.Attempt != 1 {
					t.Errorf("started %+v", e)
				}
				if c.RemainingMicro >= 0 && e.ReservedMicro > c.RemainingMicro {
					t.Errorf("reserved %d of %d", e.ReservedMicro, c.RemainingMicro)
				}
			case llm.CallRefused:
				if e.Code != tc.code || !strings.Contains(e.Reason, tc.says) {
					t.Errorf("refused %+v", e)
				}
			default:
				t.Errorf("fact %+v", e)
			}
		})
	}
}

func TestStaleWindowsStartNothing(t *testing.T) {
	t.Parallel()
	running := fold(core.State{}, core.Decide(core.State{}, start(3, func(c *core.Start) { c.Epoch = 2 }))...)
	done := fold(running, core.Decide(running, core.Finish{Call: running.Open.Call})...)
	tests := []struct {
		name  string
		state core.State
		cmd   core.Start
		kinds string
	}{
		{"the same again while it runs", running, start(3, func(c *core.Start) { c.Epoch = 2 }), ""},
		{"an older step", running, start(2, func(c *core.Start) { c.Epoch = 2 }), ""},
		{"the same after its end", done, start(3, func(c *core.Start) { c.Epoch = 2 }), ""},
		{"an older epoch", done, start(4, nil), ""},
		{"the next step", done, start(4, func(c *core.Start) { c.Epoch = 2 }), "llm.call_started"},
		{"the next step while one runs", running, start(4, func(c *core.Start) { c.Epoch = 2 }), "llm.call_refused"},
		{"a window that is broken", done, start(4, func(c *core.Start) { c.Epoch, c.Broken = 2, "hash" }), "llm.call_failed"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var kinds []string
			for _, e := range core.Decide(tc.state, tc.cmd) {
				kinds = append(kinds, e.Kind())
			}
			if got := strings.Join(kinds, " "); got != tc.kinds {
				t.Errorf("got %q, want %q", got, tc.kinds)
			}
		})
	}
}

func TestLostAttemptsAreRepeatedAtTheirPrice(t *testing.T) {
	t.Parallel()
	s := fold(core.State{}, core.Decide(core.State{}, start(1, nil))...)
	reserved := s.Open.ReservedMicro
	for attempt := 2; attempt <= core.MaxAttempts; attempt++ {
		evs := core.Decide(s, core.TakeOver{Call: s.Open.Call})
		again, ok := evs[0].(llm.CallStarted)
		if !ok || again.Call.Attempt != attempt || again.Lost.CostMicroUSD != reserved || !again.Lost.Unknown {
			t.Fatalf("attempt %d: %+v", attempt, evs)
		}
		old := s.Open.Call
		s = fold(s, evs...)
		if late := core.Decide(s, core.Finish{Call: old}); late != nil {
			t.Errorf("the outcome of a lost attempt counts: %+v", late)
		}
	}
	failed, ok := core.Decide(s, core.TakeOver{Call: s.Open.Call})[0].(llm.CallFailed)
	if !ok || failed.Code != "unavailable" {
		t.Errorf("got %+v", failed)
	}
	if ended, ok := core.Decide(s, core.TakeOver{Call: s.Open.Call, Ended: true})[0].(llm.CallCancelled); !ok || !ended.Usage.Unknown {
		t.Errorf("a lost call of an ended process: %+v", ended)
	}
	free := core.Decide(s, core.TakeOver{Call: s.Open.Call, Free: true})
	if again, ok := free[0].(llm.CallStarted); !ok || again.Lost != (llm.Usage{}) {
		t.Errorf("a free attempt: %+v", free)
	}
	s = fold(s, failed)
	if s.Open != nil || s.Totals.CostMicroUSD != core.MaxAttempts*reserved {
		t.Errorf("after all attempts %+v", s)
	}
}

func TestCatalogueIsPublishedWhenItChanges(t *testing.T) {
	t.Parallel()
	one := core.Publish{Models: []llm.Model{{ID: "a/b"}}}
	evs := core.Decide(core.State{}, one)
	s := fold(core.State{}, evs...)
	if len(evs) != 1 || core.Decide(s, one) != nil || len(core.Decide(s, core.Publish{})) != 1 {
		t.Errorf("facts %+v, then %+v", evs, core.Decide(s, one))
	}
}

func TestCost(t *testing.T) {
	t.Parallel()
	p := price()
	tests := []struct {
		usage llm.Usage
		want  int64
	}{
		{llm.Usage{}, 0},
		{llm.Usage{InputTokens: 1}, 1},
		{llm.Usage{InputTokens: 1000, CachedTokens: 900, OutputTokens: 10}, 100 + 90 + 100},
		{llm.Usage{InputTokens: 10, CachedTokens: 20}, 1},
	}
	for _, tc := range tests {
		if got := p.Cost(tc.usage); got != tc.want {
			t.Errorf("%+v costs %d, want %d", tc.usage, got, tc.want)
		}
	}
	if u := (core.Price{}).Apply(llm.Usage{InputTokens: 5}); u.CostMicroUSD != 0 || !u.Unknown {
		t.Errorf("unknown price: %+v", u)
	}
	if got := (core.Price{Known: true, Input: 1e6, Write: 125e4}).WriteExtra(1000); got != 250 {
		t.Errorf("writing to the cache costs %d more", got)
	}
}

// command draws a command that may fit the state, or be old, or be nonsense.
func command(t *rapid.T, s core.State) core.Command {
	step := rapid.IntRange(0, s.Done+2).Draw(t, "step")
	call := llm.Call{ID: fmt.Sprintf("p/%d/0", step), Step: step, Epoch: 1, Attempt: rapid.IntRange(0, 4).Draw(t, "attempt")}
	if s.Open != nil && rapid.Bool().Draw(t, "open") {
		call = s.Open.Call
	}
	usage := llm.Usage{InputTokens: rapid.Int64Range(0, 1000).Draw(t, "input"), CostMicroUSD: 1}
	switch rapid.IntRange(0, 5).Draw(t, "command") {
	case 0:
		return core.Finish{Call: call, Message: chat.Text(chat.Assistant, "x"), Usage: usage}
	case 1:
		return core.Fail{Call: call, Code: "internal", Usage: usage}
	case 2:
		return core.Cancel{Call: call, Usage: usage}
	case 3:
		return core.TakeOver{Call: call, Ended: rapid.Bool().Draw(t, "ended"), Free: rapid.Bool().Draw(t, "free")}
	}
	return start(step, func(c *core.Start) {
		c.Epoch = rapid.IntRange(0, 3).Draw(t, "epoch")
		c.RemainingTokens = rapid.Int64Range(-1, 300).Draw(t, "tokens")
		c.RemainingMicro = rapid.Int64Range(-1, 300).Draw(t, "micro")
	})
}

func TestHistoriesKeepTheRules(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s core.State
		var history []events.Event
		ends := map[string]int{}
		var total int64
		for range rapid.IntRange(1, 40).Draw(t, "length") {
			c := command(t, s)
			evs := core.Decide(s, c)
			next := fold(s, evs...)
			if again := core.Decide(next, c); again != nil {
				if _, ok := c.(core.TakeOver); !ok { // each takeover names an attempt of its own
					t.Fatalf("%+v twice gives %+v, then %+v", c, evs, again)
				}
			}
			for _, e := range evs {
				switch e := e.(type) {
				case llm.CallStarted:
					total += e.Lost.CostMicroUSD
					if ends[e.Call.ID] > 0 {
						t.Fatalf("call %s starts after its end", e.Call.ID)
					}
				case llm.CallFinished:
					ends[e.Call.ID]++
					total += e.Usage.CostMicroUSD
				case llm.CallFailed:
					ends[e.Call.ID]++
					total += e.Usage.CostMicroUSD
				case llm.CallCancelled:
					ends[e.Call.ID]++
					total += e.Usage.CostMicroUSD
				case llm.CallRefused:
					ends[e.Call.ID]++
				}
			}
			s, history = next, append(history, evs...)
		}
		for id, n := range ends {
			if n != 1 {
				t.Fatalf("call %s ends %d times", id, n)
			}
		}
		if s.Totals.CostMicroUSD != total {
			t.Fatalf("charged %d, facts say %d", s.Totals.CostMicroUSD, total)
		}
		half := rapid.IntRange(0, len(history)).Draw(t, "snapshot")
		tail := fold(fold(core.State{}, history[:half]...), history[half:]...)
		if diff := cmp.Diff(fold(core.State{}, history...), tail); diff != "" {
			t.Fatalf("snapshot and tail differ from the whole: %s", diff)
		}
	})
}

func TestAReservationNeverPassesTheBudget(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := start(1, func(c *core.Start) {
			c.PromptTokens = rapid.Int64Range(0, 1e6).Draw(t, "prompt")
			c.RemainingTokens = rapid.Int64Range(-1, 2e6).Draw(t, "tokens")
			c.RemainingMicro = rapid.Int64Range(-1, 1e8).Draw(t, "micro")
			c.ContextTokens = rapid.IntRange(0, 1e6).Draw(t, "context")
			c.WantTokens = rapid.IntRange(0, 1e5).Draw(t, "want")
			c.Price.Input = rapid.Int64Range(0, 1e8).Draw(t, "input")
			c.Price.Write = rapid.Int64Range(0, 1e8).Draw(t, "write")
			c.Price.Output = rapid.Int64Range(0, 1e8).Draw(t, "output")
		})
		for _, e := range core.Decide(core.State{}, c) {
			started, ok := e.(llm.CallStarted)
			if !ok {
				continue
			}
			if started.MaxTokens < 1 {
				t.Fatalf("a call for %d tokens", started.MaxTokens)
			}
			if c.RemainingTokens >= 0 && started.ReservedTokens > c.RemainingTokens {
				t.Fatalf("reserved %d of %d tokens", started.ReservedTokens, c.RemainingTokens)
			}
			if c.RemainingMicro >= 0 && started.ReservedMicro > c.RemainingMicro {
				t.Fatalf("reserved %d of %d", started.ReservedMicro, c.RemainingMicro)
			}
			if c.ContextTokens > 0 && started.ReservedTokens > int64(c.ContextTokens) {
				t.Fatalf("%d tokens in a context of %d", started.ReservedTokens, c.ContextTokens)
			}
		}
	})
}
