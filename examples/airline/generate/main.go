// Command generate makes airline.jsonl.gz from the recording. Run it with go generate in the folder
// examples/airline.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/agentos-kernel/agentos/examples/airline"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	source, err := os.Open(airline.SourceFile)
	if err != nil {
		return fmt.Errorf("open the recording: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	tools, err := os.Open(airline.ToolsFile)
	if err != nil {
		return fmt.Errorf("open the tools: %w", err)
	}
	defer func() { err = errors.Join(err, tools.Close()) }()
	c, err := airline.Convert(source, tools)
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	out, err := os.Create(airline.CassetteFile)
	if err != nil {
		return fmt.Errorf("create the cassette: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return c.WriteGzip(out)
}
