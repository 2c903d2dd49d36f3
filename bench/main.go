// Command bench measures the kernel and prints the figures the README quotes.
//
//	go run ./bench NAME [--json] [--short] [--agents N] [--kafka]
//
// Every benchmark starts what it needs itself, in a temporary folder and on the loopback interface, on a
// durable Postgres and the embedded broker, and removes it afterwards. A figure that misses its budget is
// shown, not failed: how fast a machine is does not decide whether the kernel is right. What is lost,
// doubled or different fails.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// benchmark is one name on the command line.
type benchmark struct {
	name  string
	about string
	run   func(ctx context.Context, e *env) error
}

// limit bounds one benchmark, start and stop included.
const limit = 6 * time.Minute

func benchmarks() []benchmark {
	return []benchmark{
		{"hop", "fact committed in one service → handler committed in another", runHop},
		{"append", "transactions and events per second into the event store, beside a plain INSERT", runAppend},
		{"bus", "messages per second and latency of the bus", runBus},
		{"replay", "events per second from Postgres through decode and fold", runReplay},
		{"snapshot", "load of a long stream that is not in memory, from its snapshot and from its start", runSnapshot},
		{"startup", "`agentos up` on a warm data folder", runStartup},
		{"turn", "kernel time of a whole step, one agent, zero-latency model", runTurn},
		{"turns", "steps per second of many agents at once, zero-latency model", runTurns},
		{"airline", "100 recorded conversations at once", runAirline},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	if fix := fault.FixOf(err); fix != "" {
		fmt.Fprintln(os.Stderr, "fix:  ", fix)
	}
	os.Exit(fault.KindOf(err).ExitCode())
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	asJSON := fs.Bool("json", false, "one JSON object a line")
	short := fs.Bool("short", false, "fewer rounds: figures are rough")
	agents := fs.Int("agents", 100, "agents of `turns`, 1 to 2000")
	kafka := fs.Bool("kafka", false, "of `bus` and `hop`: Apache Kafka from its jars, not the embedded broker; needs java and mvn")
	fs.Usage = func() {
		_, _ = fmt.Fprint(fs.Output(), usage())
		fs.PrintDefaults()
	}
	var name string
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	if err := fs.Parse(args); err != nil {
		return fault.Wrap(fault.Invalid, "bench", "cannot read the flags", err)
	}
	if name == "" {
		name = fs.Arg(0)
	}
	if *agents < 1 || *agents > 2000 {
		return fault.New(fault.Invalid, "bench", "--agents must be between 1 and 2000")
	}
	chosen, err := choose(name)
	if err != nil {
		return err
	}
	e, err := newEnv(newReport(os.Stdout, *asJSON), *short || name == "smoke", *agents)
	if err != nil {
		return err
	}
	e.smoke, e.kafka = name == "smoke", *kafka
	return errors.Join(runAll(ctx, e, chosen), e.close())
}

func choose(name string) ([]benchmark, error) {
	all := benchmarks()
	if name == "all" || name == "smoke" {
		return all, nil
	}
	for _, b := range all {
		if b.name == name {
			return []benchmark{b}, nil
		}
	}
	return nil, fault.Newf(fault.Invalid, "bench", "there is no benchmark %q", name).WithFix("\n" + usage())
}

func usage() string {
	var b strings.Builder
	b.WriteString("usage: go run ./bench NAME [--json] [--short] [--agents N] [--kafka]\n")
	for _, x := range benchmarks() {
		fmt.Fprintf(&b, "  %-8s %s\n", x.name, x.about)
	}
	b.WriteString("  all      every one of them\n  smoke    one short round of each, for CI\n")
	return b.String()
}

// runAll runs the benchmarks one after the other; one that fails does not keep the next from running.
func runAll(ctx context.Context, e *env, chosen []benchmark) error {
	var errs []error
	for _, b := range chosen {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		e.report.section(b.name + ": " + b.about)
		if err := e.measureMachine(); err != nil {
			return err
		}
		one, cancel := context.WithTimeout(ctx, limit)
		if err := b.run(one, e); err != nil {
			errs = append(errs, fmt.Errorf("bench %s: %w", b.name, err))
		}
		cancel()
	}
	return errors.Join(errs...)
}
