// Package airline holds 100 conversations of GPT-4o with the simulated users and tools of an airline,
// recorded by the tau-bench project (MIT, see LICENSE), and makes a cassette of them.
//
// gpt-4o-airline.first100.json.gz is the published file, compressed and otherwise untouched; tools.json
// holds the JSON Schemas of the 14 tools, written by us from the recorded calls; airline.jsonl.gz is
// the cassette, made of both by go generate.
package airline

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/cassette"
)

//go:generate go run ./generate

// The files of the example, in its folder.
const (
	SourceFile   = "gpt-4o-airline.first100.json.gz"
	ToolsFile    = "tools.json"
	CassetteFile = "airline.jsonl.gz"
)

// Convert makes the cassette from the recording (gzip-compressed JSON) and the tools (JSON).
func Convert(source, tools io.Reader) (*cassette.Cassette, error) {
	plain, err := gzip.NewReader(source)
	if err != nil {
		return nil, fmt.Errorf("decompress the recording: %w", err)
	}
	conversations, err := cassette.FromTauBench(plain)
	if err != nil {
		return nil, fmt.Errorf("convert the recording: %w", err)
	}
	var specs []chat.ToolSpec
	if err := json.NewDecoder(tools).Decode(&specs); err != nil {
		return nil, fmt.Errorf("read the tools: %w", err)
	}
	return &cassette.Cassette{
		Header: cassette.Header{
			Cassette: cassette.Version,
			Name:     "airline",
			Source: "sierra-research/tau-bench, historical_trajectories/gpt-4o-airline.json, the first 100 runs; " +
				"tool schemas written for this cassette",
			License: "MIT",
			Model:   "gpt-4o",
			Origin:  cassette.OriginProvider,
			Tools:   specs,
		},
		Conversations: conversations,
	}, nil
}
