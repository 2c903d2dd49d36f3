// Command document writes the table of metrics.
package main

import (
	"fmt"
	"os"

	"github.com/agentos-kernel/agentos/libs/telemetry"
)

func main() {
	if err := os.WriteFile("METRICS.md", []byte(telemetry.Document()), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
