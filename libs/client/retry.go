package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// Repetition of one request: three more tries within about a second, longer only when the server asks.
const (
	maxTries  = 4
	firstWait = 100 * time.Millisecond
	maxWait   = 2 * time.Second
)

// retrier sends a request again when that is safe and may help: the request is a GET or carries an
// Idempotency-Key, and the connection broke or the server answered 503. A refused connection is not
// tried again: nobody listens there, and whoever asks wants to know at once.
type retrier struct {
	http  *http.Client
	pause func(ctx context.Context, d time.Duration) error
}

// Do implements rest.HttpRequestDoer.
func (r *retrier) Do(req *http.Request) (*http.Response, error) {
	wait := firstWait
	for try := 1; ; try++ {
		res, err := r.http.Do(req) //nolint:gosec // the address is the one the user gave
		if try == maxTries || !worthRepeating(req, res, err) {
			if err != nil {
				return nil, sendError(req, err)
			}
			return res, nil
		}
		next := wait
		if err == nil {
			next = max(wait, retryAfter(res))
			_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
			_ = res.Body.Close()
		}
		if err := r.pause(req.Context(), next); err != nil {
			return nil, err
		}
		if req, err = again(req); err != nil {
			return nil, err
		}
		wait = min(2*wait, maxWait)
	}
}

// sendError tells a server that did not answer in time from a caller who has given up: both say that a
// deadline is over.
func sendError(req *http.Request, err error) error {
	var timeout interface{ Timeout() bool }
	if req.Context().Err() == nil && errors.As(err, &timeout) && timeout.Timeout() {
		return fault.Wrap(fault.Unavailable, "client.send", "the kernel did not answer in time", err).
			WithFix("try again, and look whether the kernel is well: agentos doctor")
	}
	return fmt.Errorf("send request: %w", err)
}

func worthRepeating(req *http.Request, res *http.Response, err error) bool {
	if req.Method != http.MethodGet && req.Header.Get("Idempotency-Key") == "" {
		return false
	}
	if err != nil {
		return req.Context().Err() == nil && !errors.Is(err, syscall.ECONNREFUSED)
	}
	return res.StatusCode == http.StatusServiceUnavailable
}

// retryAfter is how long the server asks to wait, at most maxWait.
func retryAfter(res *http.Response) time.Duration {
	seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxWait)
}

// again is the same request with its body from the start.
func again(req *http.Request) (*http.Request, error) {
	next := req.Clone(req.Context())
	if req.GetBody == nil {
		return next, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, fmt.Errorf("send the body again: %w", err)
	}
	next.Body = body
	return next, nil
}
