// Package client talks to a running kernel over HTTP.
//
// Every error is a *fault.Error: problem documents of the server keep their kind, text and fix, and a
// kernel that does not answer is Unavailable with the fix "agentos up". A POST carries an
// Idempotency-Key of its own, so that it can be repeated safely after a lost connection.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/client/internal/rest"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// FixStart is what to do about a kernel that does not run.
const FixStart = "start the kernel: agentos up"

// maxQuiet is three signs of life that did not come.
const maxQuiet = 45 * time.Second

// maxAnswer bounds what is read of one answer, in bytes.
const maxAnswer = 256 << 20

// Config says which kernel to talk to. FromEnv finds it as the command line does.
type Config struct {
	// URL is the kernel's base URL, "http://127.0.0.1:7433".
	URL string
	// Key is the API key.
	Key string
	// Transport carries the requests. Default: one of the client's own.
	Transport http.RoundTripper
	// Silence is how long a stream of events may bring nothing, not even the sign of life that the kernel sends
	// every 15 s, before it is taken for dead and opened anew. Default 45 s.
	Silence time.Duration
}

// Client is safe for concurrent use.
type Client struct {
	rest    *rest.Client
	url     string
	silence time.Duration
	pause   func(ctx context.Context, d time.Duration) error // waits before a repetition
}

// New makes a client; it does not connect yet.
func New(cfg Config) (*Client, error) {
	const op = "client.new"
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fault.Newf(fault.Invalid, op, "%q is no base URL of a kernel", cfg.URL).
			WithFix("write it like http://127.0.0.1:7433")
	}
	if cfg.Transport == nil {
		cfg.Transport = &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 5 * time.Second,
		}
	}
	if cfg.Silence == 0 {
		cfg.Silence = maxQuiet
	}
	c := &Client{url: strings.TrimSuffix(cfg.URL, "/"), silence: cfg.Silence, pause: pause}
	c.rest = &rest.Client{
		Server: c.url + "/",
		Client: &retrier{http: &http.Client{Transport: cfg.Transport}, pause: c.pause},
		RequestEditors: []rest.RequestEditorFn{func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+cfg.Key)
			return nil
		}},
	}
	return c, nil
}

// URL is the base URL the client talks to.
func (c *Client) URL() string { return c.url }

// call makes one request and decodes its answer, or says why there is none.
func call[T any](c *Client, op string, request func() (*http.Response, error)) (out T, _ error) {
	res, err := request()
	if err != nil {
		return out, c.unreachable(op, err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return out, c.unreachable(op, err)
	}
	if res.StatusCode >= http.StatusBadRequest {
		return out, c.refused(op, res, raw)
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, fault.Wrap(fault.Internal, op, "the answer of "+c.url+" cannot be read", err).
			WithFix("check that the kernel and this program have the same version: agentos version")
	}
	return out, nil
}

// unreachable says why no answer came.
func (c *Client) unreachable(op string, err error) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(fault.Canceled, op, "the request was given up", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fault.Wrap(fault.Unavailable, op, "no kernel answers at "+c.url, err).WithFix(FixStart)
	}
	return fault.Wrap(fault.Unavailable, op, "the connection to "+c.url+" failed", err).
		WithFix("check the address, and that the kernel runs: agentos doctor")
}

// refused turns an answer of 400 or more into the fault it describes.
func (c *Client) refused(op string, res *http.Response, raw []byte) error {
	var p api.Problem
	kind := fault.FromHTTPStatus(res.StatusCode)
	media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if media != "application/problem+json" || json.Unmarshal(raw, &p) != nil {
		return fault.Newf(kind, op, "%s answers %s, and not as a kernel does", c.url, res.Status).
			WithFix("check that AGENTOS_URL is the address of a kernel")
	}
	if named, ok := KindNamed(string(p.Code)); ok {
		kind = named
	}
	msg := p.Detail
	if msg == "" {
		msg = p.Title
	}
	return fault.New(kind, op, msg).WithFix(p.Fix)
}

// KindNamed is the kind with a label, as problem documents and the errors of processes carry it.
func KindNamed(label string) (fault.Kind, bool) {
	for _, k := range []fault.Kind{
		fault.Invalid, fault.NotFound, fault.Conflict, fault.Denied, fault.Quota, fault.Unavailable, fault.Canceled, fault.Internal,
	} {
		if k.String() == label {
			return k, true
		}
	}
	return fault.Internal, false
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait before another try: %w", ctx.Err())
	}
}
