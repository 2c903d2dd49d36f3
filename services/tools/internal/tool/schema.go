package tool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/agentos-kernel/agentos/events/chat"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Schema checks the arguments of one tool. It is compiled once and safe for concurrent use.
type Schema struct {
	compiled *jsonschema.Schema
	printer  *message.Printer
}

// CompileSchema compiles the parameters of a spec: JSON Schema 2020-12 unless it says otherwise. A
// schema that refers to anything outside itself is Invalid: nothing is ever loaded for a schema.
func CompileSchema(spec chat.ToolSpec) (*Schema, error) {
	const op = "tool.schema"
	parameters := spec.Parameters
	if len(bytes.TrimSpace(parameters)) == 0 {
		parameters = json.RawMessage(`{"type":"object"}`)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(parameters))
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, fmt.Sprintf("the schema of tool %q is not JSON", spec.Name), err).
			WithFix("Write the parameters as a JSON Schema object.")
	}
	const url = "tool:///parameters.json"
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(noLoader{})
	if err = compiler.AddResource(url, doc); err == nil {
		var compiled *jsonschema.Schema
		if compiled, err = compiler.Compile(url); err == nil {
			return &Schema{compiled: compiled, printer: message.NewPrinter(language.English)}, nil
		}
	}
	return nil, fault.Wrap(fault.Invalid, op, fmt.Sprintf("the schema of tool %q does not compile", spec.Name), err).
		WithFix("Write a self-contained JSON Schema 2020-12.")
}

type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("schema refers to %s: references outside the schema are not followed", url)
}

// maxComplaints is how many things a model is told at once: enough to mend a call, few enough to read.
const maxComplaints = 5

// Check normalizes an argument string and holds it against the schema. The error is Invalid and says
// what to change.
func (s *Schema) Check(arguments string) (json.RawMessage, error) {
	raw, err := Normalize(arguments)
	if err != nil {
		return nil, err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, malformed(err)
	}
	err = s.compiled.Validate(value)
	if err == nil {
		return raw, nil
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return nil, fault.Wrap(fault.Invalid, opArguments, "the arguments cannot be checked", err).
			WithFix("Follow the tool's schema.")
	}
	complaints := s.complaints(invalid, nil)
	return nil, invalidf("wrong arguments: %s", strings.Join(complaints, "; ")).WithFix("Call again with these mended.")
}

func (s *Schema) complaints(e *jsonschema.ValidationError, sofar []string) []string {
	if len(sofar) >= maxComplaints {
		return sofar
	}
	if len(e.Causes) == 0 {
		text := e.ErrorKind.LocalizedString(s.printer)
		if len(e.InstanceLocation) > 0 {
			text = fmt.Sprintf("%q: %s", strings.Join(e.InstanceLocation, "/"), text)
		}
		return append(sofar, text)
	}
	for _, cause := range e.Causes {
		sofar = s.complaints(cause, sofar)
	}
	return sofar
}
