package core_test

import (
	"encoding/json"

	"pgregory.net/rapid"

	"github.com/agentos-kernel/agentos/services/learning/internal/core"
)

func decodeHead(t rapid.TB, data []byte) core.Head {
	var h core.Head
	if err := json.Unmarshal(data, &h); err != nil {
		t.Fatal(err)
	}
	return h
}
