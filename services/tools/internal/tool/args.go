package tool

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const (
	maxArgumentBytes = 1 << 20 // one call's arguments; write_file carries whole files in them
	maxArgumentDepth = 32      // nesting of objects and arrays
)

// Normalize turns the argument string a model wrote into JSON: one object, no key twice (not even in
// another case: parsers disagree on which one counts, and policy and tool must see the same), bounded in
// size and depth. No text at all means no arguments. Errors are Invalid.
func Normalize(arguments string) (json.RawMessage, error) {
	if strings.TrimSpace(arguments) == "" {
		return json.RawMessage("{}"), nil
	}
	if len(arguments) > maxArgumentBytes {
		return nil, invalidf("the arguments are longer than %d bytes", maxArgumentBytes).
			WithFix("Send less in one call.")
	}
	raw := json.RawMessage(arguments)
	if !json.Valid(raw) {
		return nil, invalidf("the arguments are not valid JSON").
			WithFix("Send one JSON object, with every string quoted and escaped.")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	start, err := dec.Token()
	if err != nil || start != json.Delim('{') {
		return nil, invalidf("the arguments are not a JSON object").
			WithFix(`Send an object, such as {"path":"notes.txt"}.`)
	}
	if err := scanObject(dec, 1); err != nil {
		return nil, err
	}
	return raw, nil
}

func scanObject(dec *json.Decoder, depth int) error {
	if depth > maxArgumentDepth {
		return invalidf("the arguments are nested more than %d deep", maxArgumentDepth).WithFix("Send flatter arguments.")
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return malformed(err)
		}
		key, _ := token.(string)
		folded := strings.ToLower(key)
		if seen[folded] {
			return invalidf("argument %q is given twice", key).WithFix("Give every argument once, in the spelling of the schema.")
		}
		seen[folded] = true
		if err := scanValue(dec, depth); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return malformed(err)
}

func scanValue(dec *json.Decoder, depth int) error {
	token, err := dec.Token()
	if err != nil {
		return malformed(err)
	}
	switch token {
	case json.Delim('{'):
		return scanObject(dec, depth+1)
	case json.Delim('['):
		if depth >= maxArgumentDepth {
			return invalidf("the arguments are nested more than %d deep", maxArgumentDepth).WithFix("Send flatter arguments.")
		}
		for dec.More() {
			if err := scanValue(dec, depth+1); err != nil {
				return err
			}
		}
		_, err := dec.Token()
		return malformed(err)
	}
	return nil
}

// Decode reads a tool's arguments into dst, a pointer to a struct with json tags. Keys must match a tag
// exactly: encoding/json alone would take "Path" for "path". Errors are Invalid.
func Decode(args json.RawMessage, dst any) error {
	raw, err := Normalize(string(args))
	if err != nil {
		return err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return malformed(err)
	}
	known := jsonNames(dst)
	for key := range keys {
		if !slices.Contains(known, key) {
			return invalidf("there is no argument %q", key).WithFix("The arguments are: " + strings.Join(known, ", ") + ".")
		}
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return invalidf("argument %q cannot be a %s", wrong.Field, wrong.Value).WithFix("See the tool's schema for its type.")
		}
		return malformed(err)
	}
	return nil
}

func jsonNames(dst any) []string {
	t := reflect.TypeOf(dst).Elem()
	names := make([]string, 0, t.NumField())
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func malformed(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	return fault.Wrap(fault.Invalid, opArguments, "the arguments cannot be read", err).
		WithFix("Send one JSON object that follows the tool's schema.")
}

const opArguments = "tool.arguments"

func invalidf(format string, args ...any) *fault.Error {
	return fault.Newf(fault.Invalid, opArguments, format, args...)
}
