// Command generate writes answers.jsonl. Run it with go generate in the folder examples/report.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/agentos-kernel/agentos/examples/report"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	c, err := report.Script(os.DirFS("."))
	if err != nil {
		return fmt.Errorf("write the script: %w", err)
	}
	out, err := os.Create(report.CassetteFile)
	if err != nil {
		return fmt.Errorf("create the cassette: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return c.Write(out)
}
