package cassette

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// tauRun is one run in the historical trajectories that the tau-bench project publishes.
type tauRun struct {
	TaskID int             `json:"task_id"`
	Reward float64         `json:"reward"`
	Info   json.RawMessage `json:"info"` // the user simulator's own notes: not part of the conversation
	Traj   []chat.Message  `json:"traj"`
	Trial  int             `json:"trial"`
}

// FromTauBench converts a trajectory file of sierra-research/tau-bench (a JSON array) to conversations.
// Messages keep role, content (null apart from ""), tool calls, ids and argument strings; a field that
// a message has no place for is an error, not a loss.
func FromTauBench(r io.Reader) ([]Conversation, error) {
	var runs []tauRun
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&runs); err != nil {
		return nil, fault.Wrap(fault.Invalid, "cassette.tau_bench", "not a tau-bench trajectory file", err)
	}
	conversations := make([]Conversation, len(runs))
	for i, run := range runs {
		conversations[i] = Conversation{
			ID:       fmt.Sprintf("task-%d-trial-%d", run.TaskID, run.Trial),
			Messages: run.Traj,
			Meta:     map[string]any{"task_id": run.TaskID, "trial": run.Trial, "reward": run.Reward},
		}
	}
	return conversations, nil
}
