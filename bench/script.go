package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// The script that answers at once: a task, a number of steps with one call of the calculator each, and
// an answer.
const (
	scriptTask   = "Count up by one with the calculator."
	scriptSystem = "You count."
)

// script writes a cassette with a number of tool steps and returns its folder and name.
func (e *env) script(steps int) (folder, name string, err error) {
	name = fmt.Sprintf("bench%d", steps)
	folder = filepath.Join(e.dir, name)
	messages := []chat.Message{chat.Text(chat.System, scriptSystem), chat.Text(chat.User, scriptTask)}
	for i := range steps {
		call := chat.ToolCall{ID: fmt.Sprintf("call_%d", i+1), Type: "function", Function: chat.FunctionCall{
			Name: "calculator", Arguments: fmt.Sprintf(`{"expression":"%d + 1"}`, i),
		}}
		messages = append(messages, chat.Message{Role: chat.Assistant, ToolCalls: []chat.ToolCall{call}},
			chat.Result(call, strconv.Itoa(i+1)))
	}
	messages = append(messages, chat.Text(chat.Assistant, fmt.Sprintf("I counted to %d.", steps)))
	b := cassette.NewBuilder(cassette.Header{Name: name, Source: "made by bench, not from a model", Origin: cassette.OriginScript})
	b.Add("count", messages, nil)
	if err := os.Mkdir(folder, 0o700); errors.Is(err, os.ErrExist) { //nolint:gosec // below our own folder
		return folder, name, nil
	} else if err != nil {
		return "", "", fault.Wrap(fault.Unavailable, "bench", "cannot make a folder for the script", err)
	}
	f, err := os.Create(filepath.Join(folder, name+".jsonl")) //nolint:gosec // our own folder
	if err != nil {
		return "", "", fault.Wrap(fault.Unavailable, "bench", "cannot write the script", err)
	}
	return folder, name, errors.Join(b.Write(f), f.Close())
}

// counter is an agent that runs the script.
func counter(script string, steps int) api.AgentSpec {
	return api.AgentSpec{
		Name: script, System: scriptSystem, Task: scriptTask, Model: "replay/" + script, Tools: []string{"calculator"},
		Limits: api.Limits{MaxSteps: steps + 10, MaxTokens: 50_000_000},
	}
}

// checkCounter says what is wrong with an agent that ran the script: lost or doubled steps.
func checkCounter(a api.Agent, steps int) error {
	if a.State != api.StateCompleted || a.Usage.Steps != steps+1 || a.Usage.ModelCalls != steps+1 || a.Usage.ToolCalls != steps {
		reason := ""
		if a.Error != nil {
			reason = ": " + a.Error.Reason
		}
		return fault.Newf(fault.Internal, "bench", "%s is %s after %d steps, %d model and %d tool calls; expected are %d, %d and %d%s",
			a.PID, a.State, a.Usage.Steps, a.Usage.ModelCalls, a.Usage.ToolCalls, steps+1, steps+1, steps, reason)
	}
	return nil
}
