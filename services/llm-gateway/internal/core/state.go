// Package core decides about model calls. It is pure: state is the fold of one process's stream
// "llm/<pid>", and everything else a decision needs comes with the command.
package core

import "github.com/agentos-kernel/agentos/events/llm"

// Codec is the version of State as JSON, of which snapshots are made: raise it when State changes, or
// what Evolve makes of a fact. A test names the change.
const Codec = 1

// State is what the gateway knows of the model calls of one process. The zero State is a process that
// never called.
type State struct {
	Open   *Open     // the call that runs, or nil
	Done   int       // the newest step whose call has ended
	Epoch  int       // the newest epoch a call was decided in
	Totals llm.Usage // of all ended calls and lost attempts

	Catalog []llm.Model // the newest catalogue; in the stream of the registry only
}

// Open is a call that was started and has not ended.
type Open struct {
	Call           llm.Call
	Model          string
	Provider       string
	WindowHash     string
	MaxTokens      int
	ReservedTokens int64
	ReservedMicro  int64
}
