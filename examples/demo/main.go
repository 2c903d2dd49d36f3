// Command demo is the main job of the kernel, shown: it starts `agentos up`, runs one task with real
// tools and recorded conversations as processes, prints what happens, and keeps the kernel serving.
// `make run` builds and starts it. With ONESHOT=1 it stops everything and exits.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func main() { os.Exit(start()) }

// start runs the demonstration and returns its exit code.
func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		if fix := fault.FixOf(err); fix != "" {
			fmt.Fprintln(os.Stderr, "fix:  ", fix)
		}
		return fault.KindOf(err).ExitCode()
	}
	return 0
}

// conversations is how many recordings run at once.
const conversations = 20

func run(ctx context.Context) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	fmt.Println("starting the kernel: bin/agentos up")
	k, err := startKernel(ctx, root)
	if err != nil {
		return err
	}
	defer func() { _ = k.stop() }() // what went wrong before is what counts
	c, err := client.New(k.config)
	if err != nil {
		return err
	}
	fmt.Printf("ready after %.2f s at %s\n", k.startup.Seconds(), c.URL())
	d := demo{client: c, kernel: k, bin: filepath.Join(root, "bin"), examples: filepath.Join(root, "examples"), runs: filepath.Join(root, ".run")}
	if err := d.report(ctx); err != nil {
		return err
	}
	if err := d.airline(ctx); err != nil {
		return err
	}
	if os.Getenv("ONESHOT") == "1" {
		fmt.Println("\nONESHOT=1: stopping")
		return k.stop()
	}
	fmt.Printf(`
The kernel keeps serving at %s until Ctrl-C. In another terminal:
  bin/agentos ps                 the processes
  bin/agentos logs -f PID        what one of them does
  bin/agentos trajectory PID     its steps
  bin/agentos audit verify       check the audit log
  bin/agentos run --model MODEL --tools calculator "What is 17 percent of 2,340?"
`, c.URL())
	return k.wait(ctx)
}
