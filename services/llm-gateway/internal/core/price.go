package core

import "github.com/agentos-kernel/agentos/events/llm"

// Price is what a model charges, in millionths of a US dollar per million tokens.
type Price struct {
	Known  bool
	Input  int64
	Cached int64 // for the part of the input that the provider had cached
	Write  int64 // for the part of the input that it wrote to its cache; 0: the same as Input
	Output int64
}

// perMTok is the number of tokens a price is for.
const perMTok = 1_000_000

// Cost is the price of a call in millionths of a US dollar, rounded up; 0 when the price is unknown.
func (p Price) Cost(u llm.Usage) int64 {
	if !p.Known {
		return 0
	}
	cached := min(u.CachedTokens, u.InputTokens)
	sum := (u.InputTokens-cached)*p.Input + cached*p.Cached + u.OutputTokens*p.Output
	return (sum + perMTok - 1) / perMTok
}

// WriteExtra is what writing tokens of the input to the provider's cache costs beyond their price as
// input, in millionths of a US dollar, rounded up.
func (p Price) WriteExtra(written int64) int64 {
	if !p.Known || p.Write <= p.Input {
		return 0
	}
	return (written*(p.Write-p.Input) + perMTok - 1) / perMTok
}

// Reserve is the most a call can cost, in millionths of a US dollar.
func (p Price) Reserve(prompt, output int64) int64 {
	return p.Cost(llm.Usage{InputTokens: prompt, OutputTokens: output}) + p.WriteExtra(prompt)
}

// Apply fills in the cost of a usage. A price that is not known makes the usage's cost unknown.
func (p Price) Apply(u llm.Usage) llm.Usage {
	u.CostMicroUSD = p.Cost(u)
	u.Unknown = u.Unknown || !p.Known
	return u
}

// Affordable is how many output tokens the rest of a budget buys once the prompt is paid; negative when
// it does not even pay the prompt.
func (p Price) Affordable(micro, prompt int64) int64 {
	rest := micro - p.Reserve(prompt, 0)
	if rest < 0 {
		return -1
	}
	if p.Output == 0 {
		return maxTokens
	}
	return rest * perMTok / p.Output
}

// maxTokens stands for "as many as anybody could want".
const maxTokens = 1 << 31

// Add sums two usages. What was counted or unknown in one of them is so in the sum.
func Add(a, b llm.Usage) llm.Usage {
	return llm.Usage{
		InputTokens:     a.InputTokens + b.InputTokens,
		CachedTokens:    a.CachedTokens + b.CachedTokens,
		OutputTokens:    a.OutputTokens + b.OutputTokens,
		ReasoningTokens: a.ReasoningTokens + b.ReasoningTokens,
		CostMicroUSD:    a.CostMicroUSD + b.CostMicroUSD,
		Counted:         a.Counted || b.Counted,
		Unknown:         a.Unknown || b.Unknown,
	}
}
