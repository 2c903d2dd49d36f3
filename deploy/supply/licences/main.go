// Command licences lists the licences in a CycloneDX bill of materials and fails when a component has none that
// may be shipped with an Apache-2.0 program.
//
//	go run ./deploy/supply/licences bin/sbom.json
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: licences SBOM")
		os.Exit(2)
	}
	raw, err := os.ReadFile(os.Args[1]) //nolint:gosec // the file to read is the caller's choice
	if err == nil {
		err = report(os.Stdout, raw)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// allowed are permissive licences by their SPDX names. BSD-Source-Code is what the detector makes of the three
// clauses of the Go project.
func allowed() []string {
	return []string{"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "BSD-Source-Code", "ISC", "CC0-1.0", "Unlicense", "0BSD"}
}

// licence is one entry of a component's list.
type licence struct {
	License struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"license"`
}

func (l licence) String() string { return l.License.ID + l.License.Name }

type component struct {
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Licenses []licence `json:"licenses"`
	Evidence struct {
		Licenses []licence `json:"licenses"`
	} `json:"evidence"` // what the detector found in the module's files
}

// names are the component's licences; what was found in its files counts as what is declared.
func (c component) names() []string {
	var out []string
	if c.Name == "std" { // Go's own library is no module whose files the detector could look at
		out = append(out, "BSD-3-Clause")
	}
	for _, l := range slices.Concat(c.Licenses, c.Evidence.Licenses) {
		out = append(out, l.String())
	}
	return out
}

// report writes one line for each component.
func report(w io.Writer, bill []byte) error {
	var b struct {
		Components []component `json:"components"`
	}
	if err := json.Unmarshal(bill, &b); err != nil {
		return fmt.Errorf("no bill of materials: %w", err)
	}
	if len(b.Components) == 0 {
		return errors.New("the bill of materials lists nothing")
	}
	var bad []string
	for _, c := range b.Components {
		names := c.names()
		if !slices.ContainsFunc(names, func(n string) bool { return slices.Contains(allowed(), n) }) {
			bad = append(bad, fmt.Sprintf("%s %s (%s)", c.Name, c.Version, strings.Join(append(names, "none known")[:max(1, len(names))], ", ")))
		}
		if _, err := fmt.Fprintf(w, "%s %s\t%s\n", c.Name, c.Version, strings.Join(names, ", ")); err != nil {
			return err
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("licences that may not be shipped, or are not known: %s", strings.Join(bad, "; "))
	}
	return nil
}
