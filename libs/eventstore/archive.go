package eventstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// ArchivePolicy says whose streams are moved to the cold part of the store.
type ArchivePolicy struct {
	// Kinds are the events that end a subject, such as "agent.completed".
	Kinds []string
	// Before is until when a subject must have ended.
	Before time.Time
	// Families are those whose streams about an ended subject are moved.
	Families []events.Family
}

// Archived is what was moved.
type Archived struct {
	Subjects map[string]int64 // that have ended, by the kind that ended them
	Streams  int64
	Events   int64
	Bytes    int64 // of the events' data
}

func (a *Archived) add(b Archived) {
	if a.Subjects == nil {
		a.Subjects = map[string]int64{}
	}
	for kind, n := range b.Subjects {
		a.Subjects[kind] += n
	}
	a.Streams += b.Streams
	a.Events += b.Events
	a.Bytes += b.Bytes
}

const (
	archiveLock    = 0x61676f63 // "agoc": one archive run at a time
	archiveScan    = 20_000     // positions looked at in one query
	archiveEvents  = 2_000      // events moved by one transaction, or one subject if it has more
	archiveRestart = 3          // tries of one move
)

// Archive moves the streams of ended subjects to the cold part of the store, some at a time, each time in a
// short transaction: it may run beside writers and readers. For every reader an event is in one of the
// parts at any time; its position, version and bytes stay. What is appended to an archived stream later is
// in the hot part until the next run. moved is called after each transaction, with the streams it moved;
// with dry nothing is moved. conn is of the store's owner.
//
// Errors: Conflict when another run is under way.
func Archive(ctx context.Context, conn *pgx.Conn, policy ArchivePolicy, dry bool, moved func(tenant, stream []string) error) (Archived, error) {
	const op = "eventstore.archive"
	var all Archived
	var alone bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", archiveLock).Scan(&alone); err != nil {
		return all, Classify(op, err)
	}
	if !alone {
		return all, fault.New(fault.Conflict, op, "another run is under way").WithFix("wait until it has ended")
	}
	defer func() {
		_, _ = conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", archiveLock) // or with the session
	}()
	var newest int64
	if err := conn.QueryRow(ctx, "SELECT coalesce(max(pos), 0) FROM ONLY eventstore.events").Scan(&newest); err != nil {
		return all, Classify(op, err)
	}
	for from := int64(0); from < newest; from += archiveScan {
		found, err := endedIn(ctx, conn, policy, from)
		if err != nil {
			return all, err
		}
		for len(found) > 0 {
			n := portion(found)
			got, err := archive(ctx, conn, policy, found[:n], dry, moved)
			if err != nil {
				return all, err
			}
			all.add(got)
			found = found[n:]
		}
	}
	return all, nil
}

// ended is a subject that may be moved, with what its streams hold in the hot part.
type ended struct {
	tenant, subject, kind string
	events, bytes         int64
}

// portion is how many of the subjects one transaction moves.
func portion(found []ended) int {
	n, events := 0, int64(0)
	for n < len(found) && (n == 0 || events+found[n].events <= archiveEvents) {
		events += found[n].events
		n++
	}
	return n
}

// A subject ends once, in the stream of the family that ends it; its streams are looked up by their names.
const endedSQL = `SELECT x.tenant, x.subject, x.kind, h.n, h.bytes
	FROM (SELECT pos, tenant, kind, substr(stream, strpos(stream, '/') + 1) AS subject FROM ONLY eventstore.events
	      WHERE pos > $1 AND pos <= $2 AND kind = ANY($3) AND time < $4) AS x
	CROSS JOIN LATERAL (SELECT count(*) AS n, coalesce(sum(length(e.data)), 0) AS bytes
		FROM unnest($5::text[]) AS f (family)
		JOIN ONLY eventstore.events e ON e.tenant = x.tenant AND e.stream = f.family || '/' || x.subject) AS h
	ORDER BY x.pos`

func endedIn(ctx context.Context, conn *pgx.Conn, p ArchivePolicy, from int64) ([]ended, error) {
	rows, err := conn.Query(ctx, endedSQL, from, from+archiveScan, p.Kinds, p.Before, familyNames(p.Families))
	if err != nil {
		return nil, Classify("eventstore.archive", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e ended, err error) {
		return e, row.Scan(&e.tenant, &e.subject, &e.kind, &e.events, &e.bytes)
	})
	return found, Classify("eventstore.archive", err)
}

func familyNames(families []events.Family) []string {
	names := make([]string, len(families))
	for i, f := range families {
		names[i] = string(f)
	}
	return names
}

// One statement, one snapshot: nobody sees an event in both parts or in none.
const moveSQL = `WITH moved AS (
	DELETE FROM ONLY eventstore.events e USING unnest($1::text[], $2::text[]) AS s (tenant, stream)
	WHERE e.tenant = s.tenant AND e.stream = s.stream RETURNING e.*
), cold AS (
	INSERT INTO eventstore.events_archive SELECT * FROM moved RETURNING tenant, stream, length(data) AS bytes
) SELECT count(DISTINCT (tenant, stream)), count(*), coalesce(sum(bytes), 0) FROM cold`

// archive moves the streams of some subjects in one transaction.
func archive(ctx context.Context, conn *pgx.Conn, p ArchivePolicy, found []ended, dry bool, moved func(tenant, stream []string) error) (Archived, error) {
	const op = "eventstore.archive"
	got := Archived{Subjects: map[string]int64{}}
	var tenant, stream []string
	for _, e := range found {
		got.Subjects[e.kind]++
		got.Events += e.events
		got.Bytes += e.bytes
		for _, f := range p.Families {
			tenant, stream = append(tenant, e.tenant), append(stream, f.Stream(e.subject))
		}
	}
	if dry {
		err := conn.QueryRow(ctx, `SELECT count(*) FROM unnest($1::text[], $2::text[]) AS s (tenant, stream) WHERE EXISTS
			(SELECT 1 FROM ONLY eventstore.events e WHERE e.tenant = s.tenant AND e.stream = s.stream)`, tenant, stream).Scan(&got.Streams)
		return got, Classify(op, err)
	}
	for try := 1; ; try++ {
		err := Classify(op, conn.QueryRow(ctx, moveSQL, tenant, stream).Scan(&got.Streams, &got.Events, &got.Bytes))
		if err == nil {
			return got, moved(tenant, stream)
		}
		if !fault.Is(err, fault.Conflict) || try == archiveRestart {
			return got, err
		}
	}
}
