package airline_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/examples/airline"
	"github.com/agentos-kernel/agentos/libs/cassette"
)

func convert(t *testing.T) *cassette.Cassette {
	t.Helper()
	source, err := os.ReadFile(airline.SourceFile)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := os.ReadFile(airline.ToolsFile)
	if err != nil {
		t.Fatal(err)
	}
	c, err := airline.Convert(bytes.NewReader(source), bytes.NewReader(tools))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func unzip(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func TestCommittedCassetteIsAFreshConversion(t *testing.T) {
	t.Parallel()
	var fresh bytes.Buffer
	if err := convert(t).Write(&fresh); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fresh.Bytes(), unzip(t, airline.CassetteFile)) {
		t.Error("airline.jsonl.gz is not what the recording gives: run go generate in examples/airline")
	}
}

// TestEveryMessageSurvives compares the cassette with the recording read without our types.
func TestEveryMessageSurvives(t *testing.T) {
	t.Parallel()
	var runs []struct {
		Traj []map[string]any `json:"traj"`
	}
	if err := json.Unmarshal(unzip(t, airline.SourceFile), &runs); err != nil {
		t.Fatal(err)
	}
	c, err := cassette.Open(airline.CassetteFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Conversations) != len(runs) {
		t.Fatalf("%d conversations of %d", len(c.Conversations), len(runs))
	}
	messages, null, beside := 0, 0, 0
	for i, run := range runs {
		var got []map[string]any
		data, err := json.Marshal(c.Conversations[i].Messages)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(run.Traj, got); diff != "" {
			t.Fatalf("conversation %d (-recorded +cassette):\n%s", i, diff)
		}
		messages += len(got)
		for _, m := range c.Conversations[i].Messages {
			if m.Role == chat.Assistant && m.Content == nil {
				null++
			}
			if len(m.ToolCalls) > 0 && m.Content != nil {
				beside++
			}
		}
	}
	want := [3]int{2658, 530, 42}
	if got := [3]int{messages, null, beside}; got != want {
		t.Errorf("messages, replies without content, text beside tool calls: %v, want %v", got, want)
	}
}

// TestSchemasAreTrueToTheCalls checks each recorded call against its schema, and that no schema names
// an argument that was never used or leaves out one that always was.
func TestSchemasAreTrueToTheCalls(t *testing.T) {
	t.Parallel()
	c := convert(t)
	type tool struct {
		schema  *jsonschema.Schema
		calls   int
		seen    map[string]int
		declare struct {
			Properties map[string]any `json:"properties"`
			Required   []string       `json:"required"`
		}
	}
	tools := map[string]*tool{}
	for _, spec := range c.Header.Tools {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(spec.Parameters))
		if err != nil {
			t.Fatal(err)
		}
		compiler := jsonschema.NewCompiler()
		if err := compiler.AddResource(spec.Name, doc); err != nil {
			t.Fatal(err)
		}
		entry := &tool{schema: compiler.MustCompile(spec.Name), seen: map[string]int{}}
		if err := json.Unmarshal(spec.Parameters, &entry.declare); err != nil {
			t.Fatal(err)
		}
		tools[spec.Name] = entry
	}
	for _, conv := range c.Conversations {
		for _, m := range conv.Messages {
			for _, call := range m.ToolCalls {
				entry := tools[call.Function.Name]
				if entry == nil {
					t.Fatalf("%s: tool %s has no schema", conv.ID, call.Function.Name)
				}
				var args map[string]any
				if err := json.Unmarshal([]byte(call.Function.Arguments), &args); err != nil {
					t.Fatal(err)
				}
				if err := entry.schema.Validate(args); err != nil {
					t.Errorf("%s: %s(%s): %v", conv.ID, call.Function.Name, call.Function.Arguments, err)
				}
				entry.calls++
				for name := range args {
					entry.seen[name]++
				}
			}
		}
	}
	if len(tools) != 14 {
		t.Errorf("%d tools, want 14", len(tools))
	}
	for name, entry := range tools {
		always := 0
		for arg := range entry.declare.Properties {
			if entry.seen[arg] == 0 {
				t.Errorf("%s: argument %s was never used", name, arg)
			}
			if entry.seen[arg] == entry.calls {
				always++
			}
		}
		if entry.calls == 0 || always != len(entry.declare.Required) {
			t.Errorf("%s: %d calls, %d arguments always given, %d required", name, entry.calls, always, len(entry.declare.Required))
		}
	}
}
