// Package openai talks to servers with the OpenAI chat completions interface: OpenAI itself and the
// many engines and vendors that copy it.
package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider"
)

// Config describes one server.
type Config struct {
	Name    string // the provider's name, for messages
	BaseURL string // with the version: "https://api.openai.com/v1"
	Key     string // bearer token; "" sends none
	KeyEnv  string // the variable the key came from, for messages
	// LimitField is the name of the output limit: "max_completion_tokens" or "max_tokens". A server that
	// asks for the other one gets it. Default "max_completion_tokens".
	LimitField string
	Client     *http.Client  // default: one without a time limit of its own
	FirstToken time.Duration // longest wait for the first piece of an answer; default 2 min
	Idle       time.Duration // longest silence within an answer; default 60 s
	MaxTries   int           // requests for one call; default 3
	MaxBytes   int           // largest answer; default 16 MB
	// Wait waits before another try; the default waits in real time. It returns early when ctx ends.
	Wait func(ctx context.Context, d time.Duration)
}

// Provider is a provider.Provider for one server.
type Provider struct {
	cfg      Config
	contexts *contexts
}

// New makes a provider; BaseURL is required.
func New(cfg Config) (*Provider, error) {
	cfg.BaseURL = strings.TrimRight(cfg.BaseURL, "/")
	if !strings.HasPrefix(cfg.BaseURL, "http://") && !strings.HasPrefix(cfg.BaseURL, "https://") {
		return nil, fault.Newf(fault.Invalid, "openai.new", "the base URL of %s is %q", cfg.Name, cfg.BaseURL).
			WithFix("give a URL with the version path, such as https://api.openai.com/v1")
	}
	if cfg.LimitField == "" {
		cfg.LimitField = limitNew
	}
	if cfg.Client == nil {
		transport, ok := http.DefaultTransport.(*http.Transport)
		if !ok {
			transport = &http.Transport{Proxy: http.ProxyFromEnvironment}
		}
		transport = transport.Clone()
		transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 512, 256
		cfg.Client = &http.Client{Transport: transport}
	}
	cfg.FirstToken = defaultTo(cfg.FirstToken, 2*time.Minute)
	cfg.Idle = defaultTo(cfg.Idle, time.Minute)
	cfg.MaxTries = defaultTo(cfg.MaxTries, 3)
	cfg.MaxBytes = defaultTo(cfg.MaxBytes, 16<<20)
	if cfg.Wait == nil {
		cfg.Wait = wait
	}
	return &Provider{cfg: cfg, contexts: newContexts()}, nil
}

func defaultTo[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// Complete implements provider.Provider. Faults: Canceled (ctx ended), Unavailable (away, overloaded,
// cut off, silent; worth another try later), Quota (out of money), Denied (the key), NotFound (the
// model), Invalid (the request), Internal (an answer that makes no sense).
func (p *Provider) Complete(ctx context.Context, req provider.Request, onDelta func(provider.Delta)) (provider.Reply, error) {
	if onDelta == nil {
		onDelta = func(provider.Delta) {}
	}
	var lost []provider.Lost
	limit := p.cfg.LimitField
	start := time.Now()
	for try := 1; ; try++ {
		reply, err := p.once(ctx, req, limit, onDelta, start)
		reply.Tries, reply.Lost = try, lost
		if err == nil {
			return reply, nil
		}
		if ctx.Err() != nil {
			return reply, canceled(ctx)
		}
		var failure *failure
		if !errors.As(err, &failure) {
			return reply, err
		}
		if other, ok := failure.otherLimit(limit); ok && try < p.cfg.MaxTries {
			limit = other
			continue
		}
		if size, ok := p.contexts.learn(req.Model, failure); ok && try < p.cfg.MaxTries {
			if less, ok := smaller(req.MaxTokens, size); ok {
				req.MaxTokens = less
				continue
			}
		}
		if !failure.again || try >= p.cfg.MaxTries || failure.after > maxWait {
			return reply, failure.fault(p.cfg, try)
		}
		if reply.Message.Content != nil || len(reply.Message.ToolCalls) > 0 || reply.Message.Reasoning != nil {
			lost = append(lost, provider.Lost{Message: reply.Message})
			onDelta(provider.Delta{Reset: true})
		}
		p.cfg.Wait(ctx, backoff(try, failure.after))
		if ctx.Err() != nil {
			reply.Lost = lost
			reply.Message.Content, reply.Message.ToolCalls, reply.Message.Reasoning = nil, nil, nil
			return reply, canceled(ctx)
		}
	}
}

// once sends one request. The reply beside an error is what had come of the answer.
func (p *Provider) once(ctx context.Context, req provider.Request, limit string, onDelta func(provider.Delta), start time.Time) (provider.Reply, error) {
	body, err := encode(req, limit)
	if err != nil {
		return provider.Reply{}, fault.Wrap(fault.Internal, "openai.encode", "the request cannot be encoded", err)
	}
	// The watch ends the request when the server falls silent.
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watch := newWatch(p.cfg.FirstToken, func() { stop(errFirst) })
	defer watch.stop()

	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.BaseURL+"/chat/completions", bytes.NewReader(body))
	if err != nil {
		return provider.Reply{}, fault.Wrap(fault.Invalid, "openai.request", "the base URL makes no request", err)
	}
	hr.Header.Set("Content-Type", "application/json")
	hr.Header.Set("Accept", "text/event-stream, application/json")
	if p.cfg.Key != "" {
		hr.Header.Set("Authorization", "Bearer "+p.cfg.Key)
	}
	resp, err := p.cfg.Client.Do(hr)
	if err != nil {
		return provider.Reply{}, p.broken(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up: the error says nothing new
	if resp.StatusCode != http.StatusOK {
		return provider.Reply{}, statusFailure(resp)
	}
	a := newAnswer(p.cfg.MaxBytes)
	read := a.readJSON
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		read = a.readStream
	}
	err = read(resp.Body, func(first bool, text string) {
		if first {
			a.first = time.Since(start)
			watch.phase(p.cfg.Idle, func() { stop(errIdle) })
		} else {
			watch.reset()
		}
		if text != "" {
			onDelta(provider.Delta{Text: text})
		}
	})
	if err != nil {
		return a.reply(), p.broken(ctx, err)
	}
	return a.reply(), nil
}

// broken is the failure behind an error of the connection.
func (p *Provider) broken(ctx context.Context, err error) error {
	var known *failure
	var f *fault.Error
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errFirst):
		return &failure{again: true, kind: fault.Unavailable, err: cause, message: fmt.Sprintf("no answer began within %s", p.cfg.FirstToken)}
	case errors.Is(cause, errIdle):
		return &failure{again: true, kind: fault.Unavailable, err: cause, message: fmt.Sprintf("the answer stopped for %s", p.cfg.Idle)}
	case errors.As(err, &known), errors.As(err, &f):
		return err
	}
	return &failure{again: true, kind: fault.Unavailable, message: "the connection broke", err: err}
}

func canceled(ctx context.Context) error {
	return fault.Wrap(fault.Canceled, "openai.complete", "the call was stopped", context.Cause(ctx))
}

// Waits between tries: 0.5 s, 1 s, …, spread by half in both directions so that many callers do not
// come back together. A server that asks for more than maxWait is not waited for.
const (
	firstWait = 500 * time.Millisecond
	maxWait   = time.Minute
)

func backoff(try int, after time.Duration) time.Duration {
	base := min(firstWait<<(try-1), maxWait/2)
	jittered := base/2 + rand.N(base) //nolint:gosec // spreading load needs no secret
	return max(jittered, after+rand.N(firstWait/2))
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
