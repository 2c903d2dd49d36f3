package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// maxSilence is how many connections in a row may bring nothing before Follow gives up: with the
// growing pauses between them about half a minute, time enough to restart a kernel.
const maxSilence = 20

// Message is what a stream brings: a fact, or a piece of a model's output.
type Message struct {
	Event *api.Event // a fact; nil for output
	Delta *api.Delta // output; nil for a fact
	Reset bool       // Delta begins a new attempt of its call: the text so far is void
}

// Follow gives fn the events of a process behind a position as they happen, with the model's output
// if deltas is set, until the process has ended; each fact once and in order, whatever becomes of the
// connection. An error of fn ends it and is returned as it is.
func (c *Client) Follow(ctx context.Context, pid string, after int64, deltas bool, fn func(Message) error) error {
	f := &follower{client: c, pid: pid, after: after, deltas: deltas, fn: fn}
	return f.run(ctx)
}

// Wait follows a process until it has ended and shows it.
func (c *Client) Wait(ctx context.Context, pid string) (api.Agent, error) {
	for {
		agent, err := c.Agent(ctx, pid)
		if err != nil || Ended(agent.State) {
			return agent, err
		}
		if err := c.Follow(ctx, pid, 0, false, func(Message) error { return nil }); err != nil {
			return api.Agent{}, err
		}
	}
}

// follower is one Follow: where it has come to and what it has seen.
type follower struct {
	client *Client
	pid    string
	deltas bool
	fn     func(Message) error

	after   int64     // position of the last fact
	lastID  string    // of the last message
	output  api.Delta // the last piece of output
	ended   bool      // the fact that ends the process has come
	contact bool      // a connection has been made before
	stopped error     // fn's error
}

func (f *follower) run(ctx context.Context) error {
	wait := firstWait
	for silent := 0; ; {
		before := f.lastID
		err := f.connect(ctx)
		switch {
		case f.stopped != nil:
			return f.stopped
		case err == nil && f.ended:
			return nil
		case err != nil && (!fault.Is(err, fault.Unavailable) || !f.contact):
			return err
		}
		if f.lastID != before {
			silent, wait = 0, firstWait
		}
		if silent++; silent > maxSilence {
			return fault.Wrap(fault.Unavailable, "client.follow", "the stream of events broke and did not come back", err).WithFix(FixStart)
		}
		if err := f.client.pause(ctx, wait); err != nil {
			return f.client.unreachable("client.follow", err)
		}
		wait = min(2*wait, maxWait)
	}
}

// connect reads one connection to its end.
func (f *follower) connect(ctx context.Context) error {
	const op = "client.follow"
	// A connection whose other end is gone without a word would stay for ever.
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	quiet := time.AfterFunc(f.client.silence, func() { giveUp(errQuiet) })
	defer quiet.Stop()
	params := api.ListEventsParams{After: &f.after, Deltas: &f.deltas}
	if f.lastID != "" {
		params.LastEventID = &f.lastID
	}
	res, err := f.client.rest.ListEvents(ctx, f.pid, &params, func(_ context.Context, r *http.Request) error {
		r.Header.Set("Accept", "text/event-stream")
		return nil
	})
	if err != nil {
		return f.broken(ctx, op, err)
	}
	defer func() { _ = res.Body.Close() }()
	media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if res.StatusCode != http.StatusOK || media != "text/event-stream" {
		raw, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // what came of it is all there is to say
		return f.client.refused(op, res, raw)
	}
	f.contact = true
	alive := readFunc(func(b []byte) (int, error) {
		n, err := res.Body.Read(b)
		quiet.Reset(f.client.silence)
		return n, err //nolint:wrapcheck // a reader hands io.EOF on as it is
	})
	if err := readFrames(alive, f.take); err != nil {
		return f.broken(ctx, op, err)
	}
	return nil
}

var errQuiet = errors.New("the stream has brought nothing for too long")

// broken says why a connection ended: what was silent for too long is worth another try.
func (f *follower) broken(ctx context.Context, op string, err error) error {
	if errors.Is(context.Cause(ctx), errQuiet) {
		return fault.Wrap(fault.Unavailable, op, "the connection to "+f.client.url+" is silent", errQuiet).
			WithFix("check that the kernel is well: agentos doctor")
	}
	return f.client.unreachable(op, err)
}

// readFunc is a function as an io.Reader.
type readFunc func(b []byte) (int, error)

// Read implements io.Reader.
func (f readFunc) Read(b []byte) (int, error) { return f(b) }

// take hands one message on, unless it was seen on the connection before.
func (f *follower) take(in frame) error {
	var msg Message
	switch in.name {
	case "delta", "reset":
		msg.Delta, msg.Reset = &api.Delta{}, in.name == "reset"
		if err := json.Unmarshal(in.data, msg.Delta); err != nil {
			return malformed(err)
		}
		if !f.fresh(msg) {
			return nil
		}
		f.output = *msg.Delta
	default:
		msg.Event = &api.Event{}
		if err := json.Unmarshal(in.data, msg.Event); err != nil {
			return malformed(err)
		}
		if msg.Event.Position <= f.after {
			return nil
		}
		f.after = msg.Event.Position
		f.ended = f.ended || ends(msg.Event.Kind)
	}
	if in.id != "" {
		f.lastID = in.id
	}
	f.stopped = f.fn(msg)
	return f.stopped
}

// fresh reports whether a piece of output goes beyond the last one.
func (f *follower) fresh(msg Message) bool {
	d, last := msg.Delta, f.output
	if d.CallID != last.CallID || d.Attempt != last.Attempt {
		return d.CallID != last.CallID || d.Attempt > last.Attempt
	}
	if msg.Reset {
		return d.Offset <= last.Offset // the attempt begins again; one sent after a reconnect says nothing new
	}
	return d.Offset > last.Offset
}

// ends reports whether a fact of this kind is the end of its process.
func ends(kind string) bool {
	switch kind {
	case "agent.completed", "agent.failed", "agent.terminated":
		return true
	}
	return false
}

func malformed(err error) error {
	return fault.Wrap(fault.Internal, "client.follow", "an event of the stream cannot be read", err).
		WithFix("check that the kernel and this program have the same version: agentos version")
}
