package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// writeJSON prints one document on one line.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fault.Wrap(fault.Internal, "cli.output", "the output cannot be written", err)
	}
	return nil
}

// writef prints text.
func writef(w io.Writer, format string, args ...any) error {
	if _, err := fmt.Fprintf(w, format, args...); err != nil {
		return fault.Wrap(fault.Internal, "cli.output", "the output cannot be written", err)
	}
	return nil
}

// writeTable prints rows in aligned columns; the first row is the heading.
func writeTable(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, row := range rows {
		if err := writef(t, "%s\n", strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return fault.Wrap(fault.Internal, "cli.output", "the output cannot be written", err)
	}
	return nil
}

// usd prints US dollars with as many digits as small prices need.
func usd(v float64) string { return "$" + strconv.FormatFloat(v, 'f', 4, 64) }

// micro prints millionths of a US dollar.
func micro(v int64) string { return usd(float64(v) / 1e6) }

// tokenCount marks tokens that were counted by the kernel and not reported by a provider.
func tokenCount(n int64, counted bool) string {
	if counted {
		return "~" + strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10)
}

// span prints a duration with the one unit that tells most: "340us", "12ms", "3.4s", "5m", "2h", "9d".
func span(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%dus", max(d, 0).Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// milliseconds prints a duration known to the millisecond.
func milliseconds(n int64) string {
	if n == 0 {
		return "<1ms"
	}
	return span(time.Duration(n) * time.Millisecond)
}

// clip makes text fit one line of a terminal: it is shortened, and control characters, which could
// steer the terminal, become spaces.
func clip(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	runes := []rune(s)
	if len(runes) <= limit {
		return s
	}
	return string(runes[:limit-1]) + "…"
}

// printable takes from text what could steer a terminal, but keeps its lines and tabs.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}
