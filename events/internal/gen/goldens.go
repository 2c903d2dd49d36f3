package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/internal/golden"
)

const sumsFile = "tests/arch/goldens.sum"

// writeGoldens adds the goldens and checksums that are missing and refuses every other change.
func writeGoldens(root string, types []events.Type, unreleased bool) error {
	sums, err := readSums(root)
	if err != nil {
		return err
	}
	if unreleased {
		maps.DeleteFunc(sums, func(name, _ string) bool { return strings.HasPrefix(name, "events/") })
	}
	for _, t := range types {
		dir := "events/" + string(events.FamilyOf(t.Kind)) + "/testdata/"
		if err := writeGolden(root, dir, t, unreleased); err != nil {
			return err
		}
	}
	files, err := released(root)
	if err != nil {
		return err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name, sum := filepath.ToSlash(rel), sha256.Sum256(data)
		if had, ok := sums[name]; ok && had != hex.EncodeToString(sum[:]) {
			return fmt.Errorf("%s was changed: a golden or a history stays as it was released; restore it and make a new version", name)
		}
		sums[name] = hex.EncodeToString(sum[:])
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&b, "%s  %s\n", sums[name], name)
	}
	return write(root, sumsFile, []byte(b.String()))
}

// released lists the files that never change: the goldens of all facts, and the recorded histories.
func released(root string) ([]string, error) {
	goldens, err := filepath.Glob(filepath.Join(root, "events", "*", "testdata", "*.json"))
	if err != nil {
		return nil, err
	}
	histories, err := filepath.Glob(filepath.Join(root, "libs", "service", "foldtest", "histories", "*.jsonl.gz"))
	return append(goldens, histories...), err
}

func writeGolden(root, dir string, t events.Type, unreleased bool) error {
	example, err := events.Encode(t.Example)
	if err != nil {
		return err
	}
	n, newest := 1, []byte(nil)
	for ; ; n++ {
		data, err := os.ReadFile(filepath.Join(root, dir, golden.FileName(t, n)))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		newest = data
		if unreleased {
			if err := os.Remove(filepath.Join(root, dir, golden.FileName(t, n))); err != nil {
				return err
			}
		}
	}
	if unreleased {
		return write(root, dir+golden.FileName(t, 1), example)
	}
	if bytes.Equal(newest, example) {
		return nil
	}
	if newest != nil {
		var before, now any
		if err := errors.Join(json.Unmarshal(newest, &before), json.Unmarshal(example, &now)); err != nil {
			return err
		}
		if path := lost(before, now, t.Kind); path != "" {
			return fmt.Errorf("%s changed its shape at %s: give it a new version and an upcaster; "+
				"if no released program has ever stored it, run gen with -unreleased", t.Kind, path)
		}
	}
	return write(root, dir+golden.FileName(t, n), example)
}

// lost names the first place where now does not hold what before held, or "".
func lost(before, now any, path string) string {
	switch b := before.(type) {
	case map[string]any:
		n, ok := now.(map[string]any)
		if !ok {
			return path
		}
		for _, k := range slices.Sorted(maps.Keys(b)) {
			v, ok := n[k]
			if !ok {
				return path + "." + k
			}
			if p := lost(b[k], v, path+"."+k); p != "" {
				return p
			}
		}
	case []any:
		n, ok := now.([]any)
		if !ok || len(n) != len(b) {
			return path
		}
		for i := range b {
			if p := lost(b[i], n[i], fmt.Sprintf("%s[%d]", path, i)); p != "" {
				return p
			}
		}
	default:
		if before != now {
			return path
		}
	}
	return ""
}

func readSums(root string) (map[string]string, error) {
	sums := map[string]string{}
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(sumsFile)))
	if errors.Is(err, fs.ErrNotExist) {
		return sums, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok {
			return nil, fmt.Errorf("%s: not a checksum line: %q", sumsFile, line)
		}
		sums[name] = sum
	}
	return sums, nil
}
