package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/store"
	"github.com/agentos-kernel/agentos/services/scheduler/internal/stream"
)

// streamsOf is the streams of all services about a process.
func streamsOf(pid string) []string {
	return []string{events.Agent.Stream(pid), events.Context.Stream(pid), events.LLM.Stream(pid), events.Tool.Stream(pid)}
}

func (s *Server) eventView(r events.Record) (api.Event, error) {
	body, err := s.rt.Body(r)
	return api.Event{
		Position: r.Position, ID: r.ID, Kind: r.Kind, SchemaVersion: r.SchemaVersion, Stream: r.Stream,
		StreamVersion: r.StreamVersion, Time: r.Time, Correlation: r.Correlation, Causation: r.Causation,
		Data: json.RawMessage(body),
	}, err
}

// ListEvents implements GET /v1/agents/{pid}/events, as a page or as a stream.
func (s *Server) ListEvents(c echo.Context, pid api.PID, params api.ListEventsParams) error {
	ctx, tenant := c.Request().Context(), httpserver.Tenant(c)
	proc, err := store.Get(ctx, s.db, tenant, pid)
	if err != nil {
		return err
	}
	var after int64
	if params.After != nil {
		after = *params.After
	}
	if httpserver.WantsStream(c) {
		return s.follow(c, tenant, proc, after, params)
	}
	limit, err := httpserver.PageLimit(params.Limit)
	if err != nil {
		return err
	}
	safe, err := s.hub.Safe(ctx)
	if err != nil {
		return err
	}
	recs, err := eventstore.ReadSubject(ctx, s.db, tenant, streamsOf(pid), after, safe, limit+1)
	if err != nil {
		return err
	}
	page := api.EventPage{Events: []api.Event{}, NextAfter: after, More: len(recs) > limit}
	for _, r := range recs[:min(len(recs), limit)] {
		view, err := s.eventView(r)
		if err != nil {
			return err
		}
		page.Events = append(page.Events, view)
		page.NextAfter = r.Position
	}
	return c.JSON(http.StatusOK, page)
}

const (
	streamPage  = 500
	streamPace  = 15 * time.Millisecond  // least time between two reads for one client
	streamPoll  = 2 * time.Second        // finds what a lost wake-up left
	streamRetry = 3 * time.Millisecond   // while an older transaction still runs
	streamQuiet = 300 * time.Millisecond // after the end: calls that are cut then still report
)

// follower sends the events of one process to one client.
type follower struct {
	s           *Server
	out         *httpserver.Stream
	sub         *stream.Subscription
	tenant, pid string
	after       int64
	deltas      bool
	ended       time.Time // when the process's end was sent, or known from the start
	attempt     map[string]int
	skip        deltaID // deltas up to here were seen before a reconnect
}

func (s *Server) follow(c echo.Context, tenant string, proc store.Process, after int64, params api.ListEventsParams) error {
	f := &follower{s: s, tenant: tenant, pid: proc.PID, after: after, attempt: map[string]int{}}
	if proc.State.Ended() {
		f.ended = s.cfg.Now() // a client that comes back behind the last event must not wait for another
	}
	f.deltas = params.Deltas != nil && *params.Deltas
	ctx := c.Request().Context()
	if params.LastEventID != nil && *params.LastEventID != "" {
		if err := f.resume(ctx, *params.LastEventID); err != nil {
			return err
		}
	}
	f.sub = s.hub.Subscribe(f.pid)
	defer f.sub.Close()
	out, err := httpserver.SSE(c)
	if err != nil {
		return err
	}
	defer out.Close()
	f.out = out
	return f.run(ctx)
}

// deltaID is the id of a delta in the stream: "<call id>/<attempt>/<offset>".
type deltaID struct {
	call    string
	attempt int
	offset  int64
}

func parseDeltaID(id string) (d deltaID, ok bool) {
	i := strings.LastIndexByte(id, '/')
	if i < 0 {
		return d, false
	}
	j := strings.LastIndexByte(id[:i], '/')
	if j < 0 {
		return d, false
	}
	attempt, err1 := strconv.Atoi(id[j+1 : i])
	offset, err2 := strconv.ParseInt(id[i+1:], 10, 64)
	return deltaID{id[:j], attempt, offset}, err1 == nil && err2 == nil
}

// resume goes on behind the last id a client saw.
func (f *follower) resume(ctx context.Context, last string) error {
	if pos, err := strconv.ParseInt(last, 10, 64); err == nil {
		f.after = pos
		return nil
	}
	d, ok := parseDeltaID(last)
	if !ok {
		return fault.Newf(fault.Invalid, "scheduler.events", "Last-Event-ID %q is neither a position nor the id of a delta", last).
			WithFix("send the id of the last message of this stream, or leave the header out")
	}
	f.skip = d
	recs, err := eventstore.ReadStream(ctx, f.s.db, f.tenant, events.LLM.Stream(f.pid), 0, 0)
	if err != nil {
		return err
	}
	for _, r := range recs {
		e, err := f.s.rt.Decode(r)
		if err != nil {
			return err
		}
		if started, ok := e.(llm.CallStarted); ok && started.Call.ID == d.call && started.Call.Attempt == d.attempt {
			f.after = max(f.after, r.Position)
		}
	}
	return nil
}

// run sends until the process has ended, the client has gone or the server stops.
func (f *follower) run(ctx context.Context) error {
	poll := time.NewTimer(0)
	defer poll.Stop()
	var sent time.Time
	for {
		select {
		case <-f.out.Done():
			return nil
		case d := <-f.sub.Deltas:
			if err := f.delta(d); err != nil {
				return nil
			}
		case <-f.sub.Wake:
			poll.Reset(max(0, streamPace-time.Since(sent)))
		case <-poll.C:
			sent = time.Now()
			again, err := f.send(ctx)
			if err != nil {
				if fault.Is(err, fault.Canceled) {
					return nil
				}
				return err
			}
			if again > 0 && !f.ended.IsZero() && f.s.cfg.Now().Sub(f.ended) > streamQuiet {
				return nil
			}
			poll.Reset(again)
		}
	}
}

// send sends what is safe to send and says when to look again.
func (f *follower) send(ctx context.Context) (time.Duration, error) {
	target := f.sub.Target()
	safe, err := f.s.hub.Safe(ctx)
	if err != nil {
		return 0, err
	}
	recs, err := eventstore.ReadSubject(ctx, f.s.db, f.tenant, streamsOf(f.pid), f.after, safe, streamPage)
	if err != nil {
		return 0, err
	}
	for _, r := range recs {
		view, err := f.s.eventView(r)
		if err != nil {
			return 0, err
		}
		data, err := events.Encode(view)
		if err != nil {
			return 0, err
		}
		if err := f.out.Event(strconv.FormatInt(r.Position, 10), r.Kind, data); err != nil {
			return 0, err
		}
		f.after = r.Position
		switch r.Kind {
		case "agent.completed", "agent.failed", "agent.terminated":
			f.ended = f.s.cfg.Now()
		}
	}
	switch {
	case len(recs) == streamPage:
		return 0, nil
	case safe < target:
		return streamRetry, nil
	case !f.ended.IsZero():
		return streamQuiet / 2, nil
	}
	return streamPoll, nil
}

// delta sends a piece of model output; a new attempt of a call first voids what the one before said.
func (f *follower) delta(d stream.Delta) error {
	if !f.deltas {
		return nil
	}
	var v struct {
		api.Delta
		Reset bool `json:"reset"` // the attempt begins its text again
	}
	if err := json.Unmarshal(d.Payload, &v); err != nil {
		return nil //nolint:nilerr // not a delta of ours: nothing a client could use
	}
	if f.skip.call == v.CallID && f.skip.attempt == v.Attempt && v.Offset <= f.skip.offset && !v.Reset {
		return nil
	}
	id := v.CallID + "/" + strconv.Itoa(v.Attempt) + "/" + strconv.FormatInt(v.Offset, 10)
	if had, ok := f.attempt[v.CallID]; (ok && had != v.Attempt) || (!ok && v.Attempt > 1) || v.Reset || f.sub.Lagged() {
		reset, err := events.Encode(api.Delta{CallID: v.CallID, Step: v.Step, Attempt: v.Attempt, Offset: v.Offset})
		if err != nil {
			return err
		}
		if err := f.out.Event("", "reset", reset); err != nil {
			return err
		}
	}
	clear(f.attempt)
	f.attempt[v.CallID] = v.Attempt
	return f.out.Event(id, "delta", d.Payload)
}
