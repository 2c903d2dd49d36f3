package core

import (
	"maps"
	"slices"
	"strings"
)

// Stats is the runs of one agent name.
type Stats struct {
	Name         string `json:"name"`
	Runs         int64  `json:"runs"`
	Completed    int64  `json:"completed"`
	Failed       int64  `json:"failed"`
	Terminated   int64  `json:"terminated"`
	Open         int64  `json:"open"` // that have not ended
	Steps        int64  `json:"steps"`
	ModelCalls   int64  `json:"model_calls"`
	ToolCalls    int64  `json:"tool_calls"`
	InputTokens  int64  `json:"input_tokens"`
	CachedTokens int64  `json:"cached_tokens"`
	OutputTokens int64  `json:"output_tokens"`
	CostMicroUSD int64  `json:"cost_micro_usd"`
}

// SuccessRate is completed among ended runs; false before the first has ended.
func (s Stats) SuccessRate() (float64, bool) {
	ended := s.Completed + s.Failed + s.Terminated
	if ended == 0 {
		return 0, false
	}
	return float64(s.Completed) / float64(ended), true
}

// Totals adds heads up by agent name.
type Totals map[string]*Stats

// Add counts one process.
func (t Totals) Add(h *Head) {
	s := t[h.Name]
	if s == nil {
		s = &Stats{Name: h.Name}
		t[h.Name] = s
	}
	s.Runs++
	switch h.Outcome {
	case Completed:
		s.Completed++
	case Failed:
		s.Failed++
	case Terminated:
		s.Terminated++
	default:
		s.Open++
	}
	s.Steps += int64(h.Usage.Steps)
	s.ModelCalls += int64(h.Usage.ModelCalls)
	s.ToolCalls += int64(h.Usage.ToolCalls)
	s.InputTokens += h.Usage.InputTokens
	s.CachedTokens += h.Usage.CachedTokens
	s.OutputTokens += h.Usage.OutputTokens
	s.CostMicroUSD += h.Usage.CostMicroUSD
}

// ByName is the totals by agent name.
func (t Totals) ByName() []Stats {
	out := make([]Stats, 0, len(t))
	for _, name := range slices.SortedFunc(maps.Keys(t), strings.Compare) {
		out = append(out, *t[name])
	}
	return out
}
