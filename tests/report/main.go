// Command report reads the output of go test -json while the tests run and prints what a person wants to
// know: each package as it ends, failures with their output, skips with their reasons, the slowest tests,
// and the counts. With -logs it also prints what tests logged, as each of them ends: their figures.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
)

// event is one line of go test -json; see `go doc test2json`.
type event struct {
	Action  string  `json:"Action"`  //nolint:tagliatelle // go test's names
	Package string  `json:"Package"` //nolint:tagliatelle // go test's names
	Test    string  `json:"Test"`    //nolint:tagliatelle // go test's names
	Elapsed float64 `json:"Elapsed"` //nolint:tagliatelle // go test's names
	Output  string  `json:"Output"`  //nolint:tagliatelle // go test's names
}

type result struct {
	name    string
	seconds float64
}

const slowest = 15

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	logs := flag.Bool("logs", false, "print what tests logged as each of them ends")
	flag.Parse()
	output, blamed := map[string][]string{}, map[string]bool{}
	var passed, failed, skipped []result
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			fmt.Println(in.Text()) // the compiler speaks plainly
			continue
		}
		name := strings.TrimPrefix(e.Package+"."+e.Test, "github.com/agentos-kernel/agentos/")
		switch e.Action {
		case "build-output":
			fmt.Print(e.Output)
		case "output":
			output[name] = append(output[name], e.Output)
		case "pass":
			if e.Test == "" {
				fmt.Printf("ok   %6.1f s  %s\n", e.Elapsed, strings.TrimSuffix(name, "."))
				continue
			}
			passed = append(passed, result{name, e.Elapsed})
			if *logs {
				said(name, output[name])
			}
			delete(output, name)
		case "fail":
			fmt.Printf("FAIL %6.1f s  %s\n", e.Elapsed, strings.TrimSuffix(name, "."))
			if e.Test != "" || !blamed[e.Package] { // a package without a failed test did not build, or panicked
				failed = append(failed, result{name, e.Elapsed})
			}
			blamed[e.Package] = true
		case "skip":
			if e.Test != "" {
				skipped = append(skipped, result{name, e.Elapsed})
			}
		}
	}
	for _, f := range failed {
		fmt.Printf("--- FAIL %s (%.1f s)\n%s\n", f.name, f.seconds, strings.Join(output[f.name], ""))
	}
	for _, s := range skipped {
		fmt.Printf("--- SKIP %s: %s\n", s.name, reason(output[s.name]))
	}
	slices.SortFunc(passed, func(a, b result) int { return int((b.seconds - a.seconds) * 1000) })
	fmt.Println("slowest tests:")
	for _, p := range passed[:min(slowest, len(passed))] {
		fmt.Printf("  %6.1f s  %s\n", p.seconds, p.name)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", len(passed), len(failed), len(skipped))
	return in.Err()
}

// said prints what a test logged, if it did.
func said(name string, lines []string) {
	if lines = spoken(lines); len(lines) > 0 {
		fmt.Printf("     %s\n         %s\n", name, strings.Join(lines, "\n         "))
	}
}

func reason(lines []string) string {
	if lines = spoken(lines); len(lines) > 0 {
		return lines[0]
	}
	return "no reason given"
}

// spoken are the lines of a test that are its own and not go test's.
func spoken(lines []string) (own []string) {
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if l != "" && !strings.HasPrefix(l, "===") && !strings.HasPrefix(l, "---") {
			own = append(own, l)
		}
	}
	return own
}
