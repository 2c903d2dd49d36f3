package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// Fold is how a service makes a state of each stream of its own. The zero S is the state of a stream
// without events.
//
// With a Codec the states of long streams are kept as snapshots, so that a stream that is not in memory
// is read from its last snapshot on and not from its start. A snapshot is a cache: one that is missing,
// of another codec or unreadable costs time, never a wrong state.
type Fold[S any] struct {
	Family events.Family
	// Evolve folds one fact; it is pure. It may change and return the state it is given: a batch that fails
	// drops the folds it touched.
	Evolve func(S, events.Event) S
	// Codec is the version of a state's bytes: raise it with every change of S, of what Evolve makes of a
	// fact, or of the encoding. What was written with another is ignored. 0 means no snapshots.
	Codec int
	// Encode and Decode turn a state into bytes and back. Equal states must give equal bytes. Default: the
	// JSON of S.
	Encode func(S) ([]byte, error)
	Decode func([]byte) (S, error)
	// Every is the least number of events between two snapshots of a stream. Default 50.
	Every int
}

// Streams gives the folds of a service's streams within its batches, those used last from memory.
func (f Fold[S]) Streams() *Streams[S] {
	if f.Every == 0 {
		f.Every = snapshotEvery
	}
	return &Streams[S]{fold: f, cache: newLRU[streamKey, *Stream[S]](streamsCached)}
}

// Loaded is the state of a stream as it was read from the database.
type Loaded[S any] struct {
	State   S
	Version int64 // of the last event folded; 0 for a stream without events
	// Snapshot is the version of the snapshot that was begun with, 0 for none; Size is how many bytes it has.
	Snapshot int64
	Size     int
	// Ignored is why a snapshot that is there was not used, or nil.
	Ignored error
}

// Decoder turns a record into its fact.
type Decoder func(events.Record) (events.Event, error)

// probe is how many events a stream must have before a snapshot of it is looked for: most streams that
// are not in memory are new, and stay at one query.
const probe = 8

// Load is the state of the stream about a subject, from its snapshot if there is a usable one. q is of
// the service's role.
func (f Fold[S]) Load(ctx context.Context, q eventstore.Querier, decode Decoder, tenant, subject string) (Loaded[S], error) {
	if f.Codec == 0 {
		return f.FromStart(ctx, q, decode, tenant, subject)
	}
	var l Loaded[S]
	stream := f.Family.Stream(subject)
	head, err := eventstore.ReadStream(ctx, q, tenant, stream, 0, probe)
	if err != nil {
		return l, err
	}
	if len(head) == probe {
		recs, err := f.fromSnapshot(ctx, q, tenant, stream, &l)
		if err != nil {
			return l, err
		}
		if l.Snapshot > 0 {
			return l, f.apply(&l, recs, decode)
		}
		if recs, err = eventstore.ReadStream(ctx, q, tenant, stream, probe, 0); err != nil {
			return l, err
		}
		head = append(head, recs...)
	}
	return l, f.apply(&l, head, decode)
}

// FromStart is the state of the stream about a subject, folded from its first event on.
func (f Fold[S]) FromStart(ctx context.Context, q eventstore.Querier, decode Decoder, tenant, subject string) (Loaded[S], error) {
	var l Loaded[S]
	recs, err := eventstore.ReadStream(ctx, q, tenant, f.Family.Stream(subject), 0, 0)
	if err != nil {
		return l, err
	}
	return l, f.apply(&l, recs, decode)
}

// fromSnapshot begins l with the stream's snapshot and returns the records after it. The event that the
// snapshot ends with must be there: one that reaches further than its stream is of another history, such
// as an event store that was put back to an older state.
func (f Fold[S]) fromSnapshot(ctx context.Context, q eventstore.Querier, tenant, stream string, l *Loaded[S]) ([]events.Record, error) {
	var version int64
	var codec int
	var state []byte
	err := q.QueryRow(ctx, `SELECT version, codec, state FROM snapshots WHERE tenant = $1 AND stream = $2`, tenant, stream).
		Scan(&version, &codec, &state)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, eventstore.Classify("service.snapshot", err)
	}
	if codec != f.Codec {
		l.Ignored = fmt.Errorf("it has codec %d, this program %d", codec, f.Codec)
		return nil, nil
	}
	s, err := f.decode(state)
	if err != nil {
		l.Ignored = fmt.Errorf("it cannot be read: %w", err)
		return nil, nil
	}
	recs, err := eventstore.ReadStream(ctx, q, tenant, stream, version-1, 0)
	if err != nil {
		return nil, err
	}
	if len(recs) == 0 || recs[0].StreamVersion != version {
		l.Ignored = fmt.Errorf("it is of version %d, which the stream does not have", version)
		return nil, nil
	}
	l.State, l.Version, l.Snapshot, l.Size = s, version, version, len(state)
	return recs[1:], nil
}

func (f Fold[S]) apply(l *Loaded[S], recs []events.Record, decode Decoder) error {
	for _, r := range recs {
		e, err := decode(r)
		if err != nil {
			return err
		}
		l.State, l.Version = f.Evolve(l.State, e), r.StreamVersion
	}
	return nil
}

// Bytes is a state as a snapshot holds it.
func (f Fold[S]) Bytes(s S) ([]byte, error) {
	if f.Encode != nil {
		return f.Encode(s)
	}
	return events.Encode(s)
}

// decode is the state that a snapshot holds.
func (f Fold[S]) decode(b []byte) (s S, err error) {
	if f.Decode != nil {
		return f.Decode(b)
	}
	return s, json.Unmarshal(b, &s)
}

// Snapshots is the Fold of a service without its type: what a rebuild needs of it.
type Snapshots interface {
	codec() int
	// differs compares a snapshot with a fold from the start and says where they part, "" when nowhere.
	differs(ctx context.Context, q eventstore.Querier, decode Decoder, s snapshot) (string, error)
}

func (f Fold[S]) codec() int { return f.Codec }

func (f Fold[S]) differs(ctx context.Context, q eventstore.Querier, decode Decoder, s snapshot) (string, error) {
	recs, err := eventstore.ReadStream(ctx, q, s.tenant, s.stream, 0, int(s.version))
	if err != nil {
		return "", err
	}
	var l Loaded[S]
	if err := f.apply(&l, recs, decode); err != nil {
		return "", fault.Wrap(fault.Invalid, "service.verify_snapshot", "an event of "+s.stream+" cannot be read", err)
	}
	if l.Version != s.version {
		return fmt.Sprintf("it is of version %d, the stream ends with %d", s.version, l.Version), nil
	}
	want, err := f.Bytes(l.State)
	if err != nil {
		return "", fault.Wrap(fault.Internal, "service.verify_snapshot", "the state of "+s.stream+" cannot be encoded", err)
	}
	if bytes.Equal(want, s.state) {
		return "", nil
	}
	return partAt(s.state, want), nil
}

// excerpt is how much of two states is shown where they part.
const excerpt = 60

func partAt(have, want []byte) string {
	i := 0
	for i < len(have) && i < len(want) && have[i] == want[i] {
		i++
	}
	from := max(0, i-excerpt/2)
	cut := func(b []byte) []byte { return b[min(from, len(b)):min(from+excerpt, len(b))] }
	return fmt.Sprintf("from byte %d on: snapshot %q, folded from the start %q", i, cut(have), cut(want))
}
