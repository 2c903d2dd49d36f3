package client

import (
	"context"
	"iter"
	"net/http"

	"github.com/google/uuid"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// pageSize is how many items a list is asked for at once.
const pageSize = 500

// Ended reports whether a process in this state has ended.
func Ended(state api.AgentState) bool {
	switch state {
	case api.StateCompleted, api.StateFailed, api.StateTerminated:
		return true
	case api.StateCreated, api.StateReady, api.StateRunning, api.StateWaiting, api.StateSuspended:
		return false
	}
	return false
}

// Spawn starts a process.
func (c *Client) Spawn(ctx context.Context, spec api.AgentSpec) (api.Agent, error) {
	const op = "client.spawn"
	key, err := newKey(ctx, op)
	if err != nil {
		return api.Agent{}, err
	}
	return call[api.Agent](c, op, func() (*http.Response, error) {
		return c.rest.CreateAgent(ctx, &api.CreateAgentParams{IdempotencyKey: &key}, spec)
	})
}

// Agent shows a process.
func (c *Client) Agent(ctx context.Context, pid string) (api.Agent, error) {
	return call[api.Agent](c, "client.agent", func() (*http.Response, error) {
		return c.rest.GetAgent(ctx, pid)
	})
}

// AgentFilter chooses processes; the zero filter takes all.
type AgentFilter struct {
	States []api.AgentState // any of these
	Name   string           // exactly this agent name
}

// Agents lists processes, newest first, over all pages. It ends with the first error.
func (c *Client) Agents(ctx context.Context, filter AgentFilter) iter.Seq2[api.Agent, error] {
	size := pageSize
	params := api.ListAgentsParams{Limit: &size}
	if len(filter.States) > 0 {
		params.State = &filter.States
	}
	if filter.Name != "" {
		params.Name = &filter.Name
	}
	return pages(func(cursor *string) ([]api.Agent, string, error) {
		params.Cursor = cursor
		page, err := call[api.AgentPage](c, "client.agents", func() (*http.Response, error) {
			return c.rest.ListAgents(ctx, &params)
		})
		return page.Agents, page.NextCursor, err
	})
}

// Send puts a message into the mailbox of a process and gives the message's id.
func (c *Client) Send(ctx context.Context, pid, content string) (string, error) {
	const op = "client.send"
	key, err := newKey(ctx, op)
	if err != nil {
		return "", err
	}
	got, err := call[api.MessageAccepted](c, op, func() (*http.Response, error) {
		return c.rest.SendMessage(ctx, pid, &api.SendMessageParams{IdempotencyKey: &key}, api.MessageSpec{Content: content})
	})
	return got.MessageID, err
}

// Signal asks a process to end.
func (c *Client) Signal(ctx context.Context, pid string, spec api.SignalSpec) (api.SignalAccepted, error) {
	const op = "client.signal"
	key, err := newKey(ctx, op)
	if err != nil {
		return api.SignalAccepted{}, err
	}
	return call[api.SignalAccepted](c, op, func() (*http.Response, error) {
		return c.rest.SignalAgent(ctx, pid, &api.SignalAgentParams{IdempotencyKey: &key}, spec)
	})
}

// Events lists the events of a process behind a position, as far as there are any by now. It ends
// with the first error.
func (c *Client) Events(ctx context.Context, pid string, after int64) iter.Seq2[api.Event, error] {
	size := pageSize
	return func(yield func(api.Event, error) bool) {
		for {
			page, err := call[api.EventPage](c, "client.events", func() (*http.Response, error) {
				return c.rest.ListEvents(ctx, pid, &api.ListEventsParams{After: &after, Limit: &size})
			})
			if err != nil {
				yield(api.Event{}, err)
				return
			}
			for _, ev := range page.Events {
				if !yield(ev, nil) {
					return
				}
			}
			if !page.More || page.NextAfter <= after {
				return
			}
			after = page.NextAfter
		}
	}
}

// Context reads the whole transcript of a process.
func (c *Client) Context(ctx context.Context, pid string) (api.Context, error) {
	size := pageSize
	var whole api.Context
	list := pages(func(cursor *string) ([]api.Page, string, error) {
		part, err := call[api.Context](c, "client.context", func() (*http.Response, error) {
			return c.rest.GetContext(ctx, pid, &api.GetContextParams{Limit: &size, Cursor: cursor})
		})
		if err == nil {
			whole = part // of the numbers beside the list the latest hold
		}
		return part.Pages, part.NextCursor, err
	})
	var all []api.Page
	for page, err := range list {
		if err != nil {
			return api.Context{}, err
		}
		all = append(all, page)
	}
	whole.Pages, whole.NextCursor = all, ""
	return whole, nil
}

// pages walks a list from its first page to its last.
func pages[T any](next func(cursor *string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var cursor *string
		for {
			items, following, err := next(cursor)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if following == "" {
				return
			}
			cursor = &following
		}
	}
}

type keyKey struct{}

// WithKey makes the next POST of ctx use this Idempotency-Key instead of a new one, so that a caller
// that was cut off before it saw the answer can ask again without doing it twice.
func WithKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, keyKey{}, key)
}

func newKey(ctx context.Context, op string) (string, error) {
	if key, ok := ctx.Value(keyKey{}).(string); ok {
		return key, nil
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return "", fault.Wrap(fault.Unavailable, op, "no randomness for an Idempotency-Key", err)
	}
	return id.String(), nil
}
