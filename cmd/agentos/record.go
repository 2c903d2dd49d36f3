package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// checkRecording finds what would keep record from writing, before anything is paid for.
func checkRecording(path string) error {
	const op = "cli.record"
	header := cassette.Header{Name: cassetteName(path), Origin: cassette.OriginProvider}
	if err := cassette.NewBuilder(header).Write(io.Discard); err != nil {
		return err //nolint:wrapcheck // a fault with its fix
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fault.Newf(fault.Invalid, op, "there is no folder %s to record into", dir).WithFix("make it, or name another file")
	}
	return nil
}

// cassetteName is the file's name up to its first dot.
func cassetteName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	return name
}

// record writes the conversation of an ended process to a cassette at path, which it replaces whole or
// not at all. The cassette is named after the file.
func record(ctx context.Context, c *client.Client, agent api.Agent, path string) error {
	transcript, err := c.Context(ctx, agent.PID)
	if err != nil {
		return err
	}
	header, err := recordHeader(ctx, c, agent, path)
	if err != nil {
		return err
	}
	messages := make([]chat.Message, 0, len(transcript.Pages))
	for _, page := range transcript.Pages {
		messages = append(messages, page.Message)
	}
	b := cassette.NewBuilder(header, secrets(os.Environ())...)
	b.Add(agent.PID, messages, map[string]any{"agent": agent.Name, "state": string(agent.State)})
	var file bytes.Buffer
	if err := b.Write(&file); err != nil {
		return err //nolint:wrapcheck // a fault with its fix
	}
	return replaceFile(path, file.Bytes())
}

func recordHeader(ctx context.Context, c *client.Client, agent api.Agent, path string) (cassette.Header, error) {
	models, err := c.Models(ctx)
	if err != nil {
		return cassette.Header{}, err
	}
	sets, err := c.Tools(ctx)
	if err != nil {
		return cassette.Header{}, err
	}
	return cassette.Header{
		Name: cassetteName(path), Model: agent.Model, Origin: origin(models, agent.Model), Tools: offered(sets, agent.Tools),
		Source: "recorded by agentos from " + agent.Model + " on " + agent.CreatedAt.UTC().Format(time.DateOnly),
	}, nil
}

// origin says whether a model ever said what the cassette holds.
func origin(models []api.Model, id string) string {
	for _, m := range models {
		prefix, wild := strings.CutSuffix(m.ID, "*")
		if (m.ID == id || wild && strings.HasPrefix(id, prefix)) && m.Source == api.SourceScript {
			return cassette.OriginScript
		}
	}
	return cassette.OriginProvider
}

// offered is the tools a process could use, by their names or those of their sets.
func offered(sets []api.ToolSet, names []string) []chat.ToolSpec {
	var specs []chat.ToolSpec
	for _, set := range sets {
		for _, t := range set.Tools {
			if slices.Contains(names, set.Name) || slices.Contains(names, t.Name) && !strings.Contains(set.Name, "/") {
				specs = append(specs, chat.ToolSpec{Name: t.Name, Description: t.Description, Parameters: t.Parameters})
			}
		}
	}
	return specs
}

// secrets is the values of the environment variables that hold credentials by their names.
func secrets(environ []string) []string {
	var found []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		name = strings.ToUpper(name)
		for _, word := range []string{"KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL"} {
			if strings.Contains(name, word) && value != "" {
				found = append(found, value)
				break
			}
		}
	}
	return found
}

func replaceFile(path string, content []byte) error {
	const op = "cli.record"
	fail := func(err error) error {
		return fault.Wrap(fault.Unavailable, op, "the recording cannot be written to "+path, err).
			WithFix("the conversation is still there: GET /v1/agents/{pid}/context")
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".record-*")
	if err != nil {
		return fail(err)
	}
	_, err = f.Write(content)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // nothing better can be done for a file that could not be written
		return fail(err)
	}
	return nil
}
