// Command pgdist prints the folder of the pinned PostgreSQL with pgvector, fetching it if the cache does not
// have it: the stand-in image of Postgres is made from it.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/agentos-kernel/agentos/libs/embedded"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func main() {
	dir, err := embedded.Distribution(context.Background(), func(line string) { fmt.Fprintln(os.Stderr, line) })
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n  fix: %s\n", err, fault.FixOf(err))
		os.Exit(fault.KindOf(err).ExitCode())
	}
	fmt.Println(dir)
}
