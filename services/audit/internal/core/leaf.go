// Package core is the pure part of the audit service: the bytes of a leaf and the decision which heads
// are announced.
package core

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// leafMagic begins every leaf; another format would begin otherwise.
const leafMagic = "agentos-leaf/1\n"

// timeFormat is RFC 3339 in UTC with exactly six digits of a second, the precision of the event store.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// fieldNames are the fields of a leaf in their order.
func fieldNames() []string {
	return []string{
		"position", "id", "tenant", "stream", "version", "kind", "schema_version", "time", "correlation",
		"causation", "traceparent", "data",
	}
}

func fieldValues(r *events.Record) [][]byte {
	return [][]byte{
		strconv.AppendInt(nil, r.Position, 10), []byte(r.ID), []byte(r.Tenant), []byte(r.Stream),
		strconv.AppendInt(nil, r.StreamVersion, 10), []byte(r.Kind), strconv.AppendInt(nil, int64(r.SchemaVersion), 10),
		r.Time.UTC().AppendFormat(nil, timeFormat), []byte(r.Correlation), []byte(r.Causation),
		[]byte(r.TraceParent), r.Data,
	}
}

// Leaf is the one byte form of a whole record, envelope and data:
//
//	agentos-leaf/1 LF, then for each of position, id, tenant, stream, version, kind, schema_version, time,
//	correlation, causation, traceparent, data: LENGTH ":" BYTES LF
//
// LENGTH is the number of bytes in decimal without leading zeroes. Numbers are decimal; time is RFC 3339,
// UTC, with six digits of a second. Two records have the same leaf only if they are the same.
func Leaf(r *events.Record) []byte {
	values := fieldValues(r)
	size := len(leafMagic)
	for _, v := range values {
		size += len(v) + 12
	}
	b := append(make([]byte, 0, size), leafMagic...)
	for _, v := range values {
		b = strconv.AppendInt(b, int64(len(v)), 10)
		b = append(b, ':')
		b = append(b, v...)
		b = append(b, '\n')
	}
	return b
}

// ParseLeaf is the record a leaf was made of. Anything Leaf would not write is fault.Invalid.
func ParseLeaf(leaf []byte) (events.Record, error) {
	const op = "audit.parse_leaf"
	rest, ok := bytes.CutPrefix(leaf, []byte(leafMagic))
	if !ok {
		return events.Record{}, fault.New(fault.Invalid, op, "a leaf must begin with its format line")
	}
	values := make([]string, 0, len(fieldNames()))
	for _, name := range fieldNames() {
		length, tail, ok := bytes.Cut(rest, []byte(":"))
		n, err := strconv.Atoi(string(length))
		if !ok || err != nil || n < 0 || n >= len(tail) || tail[n] != '\n' {
			return events.Record{}, fault.Newf(fault.Invalid, op, "field %s is cut or has a wrong length", name)
		}
		values = append(values, string(tail[:n]))
		rest = tail[n+1:]
	}
	r, err := record(values)
	if err != nil {
		return events.Record{}, fault.Wrap(fault.Invalid, op, "a field of the leaf cannot be read", err)
	}
	if !bytes.Equal(Leaf(&r), leaf) {
		return events.Record{}, fault.New(fault.Invalid, op, "the leaf is not in its canonical form")
	}
	return r, nil
}

func record(v []string) (events.Record, error) {
	r := events.Record{
		ID: v[1], Tenant: v[2], Stream: v[3], Kind: v[5], Correlation: v[8], Causation: v[9], TraceParent: v[10],
		Data: []byte(v[11]),
	}
	var err error
	if r.Position, err = strconv.ParseInt(v[0], 10, 64); err != nil {
		return r, fmt.Errorf("position: %w", err)
	}
	if r.StreamVersion, err = strconv.ParseInt(v[4], 10, 64); err != nil {
		return r, fmt.Errorf("version: %w", err)
	}
	if r.SchemaVersion, err = strconv.Atoi(v[6]); err != nil {
		return r, fmt.Errorf("schema version: %w", err)
	}
	if r.Time, err = time.Parse(timeFormat, v[7]); err != nil {
		return r, fmt.Errorf("time: %w", err)
	}
	return r, nil
}

// Differing names the fields in which two records differ, in the order of the leaf.
func Differing(a, b *events.Record) []string {
	va, vb := fieldValues(a), fieldValues(b)
	var names []string
	for i, name := range fieldNames() {
		if !bytes.Equal(va[i], vb[i]) {
			names = append(names, name)
		}
	}
	return names
}
