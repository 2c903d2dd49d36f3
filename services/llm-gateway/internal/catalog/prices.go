package catalog

import (
	_ "embed" // the price table
	"encoding/json"
	"math"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
)

// priceTable is what OpenAI charges, with source and date in the file. A model that is not in it has an
// unknown price: nothing is guessed.
//
//go:embed prices.json
var priceTable []byte

type priced struct {
	ID            string  `json:"id"`
	ContextTokens int     `json:"context_tokens"`
	Input         float64 `json:"input_usd_per_mtok"`
	Cached        float64 `json:"cached_usd_per_mtok"`
	Write         float64 `json:"cache_write_usd_per_mtok"` // 0: writing to the cache costs nothing extra
	Output        float64 `json:"output_usd_per_mtok"`
}

func (p priced) price() core.Price {
	micro := func(usd float64) int64 { return int64(math.Round(usd * 1e6)) }
	return core.Price{Known: true, Input: micro(p.Input), Cached: micro(p.Cached), Write: micro(p.Write), Output: micro(p.Output)}
}

func loadPrices() ([]priced, error) {
	var table struct {
		Models []priced `json:"models"`
	}
	if err := json.Unmarshal(priceTable, &table); err != nil {
		return nil, fault.Wrap(fault.Internal, "catalog.prices", "the price table is damaged", err)
	}
	return table.Models, nil
}
