// Package fault is the one error type of the kernel: an error with a kind and an operation.
//
// A kind says who can mend the error. One table maps it to everything that depends on it: the HTTP
// status, what a consumer does with the message, the exit code of the command line and the metric
// label.
package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Kind is the class of an error.
type Kind uint8

// The kinds. The zero Kind is Internal: an error nobody classified is the kernel's own fault.
const (
	Internal    Kind = iota // a defect or an unexpected answer; not the caller's doing
	Invalid                 // the request can never succeed as it is
	NotFound                // the thing named does not exist
	Conflict                // the state moved on, or an idempotency key was used for another body
	Denied                  // policy or authentication says no
	Quota                   // a limit is used up
	Unavailable             // a part that is needed is away; the same call may succeed later
	Canceled                // the caller gave up
)

// Action is what a consumer does with a message whose handling ended in an error of a kind.
type Action uint8

// The actions of a consumer.
const (
	Retry Action = iota // try again with backoff, for as long as it takes
	Park                // a few tries, then aside with the reason, so that others go on
	Ack                 // nothing to do again
)

type row struct {
	label  string
	title  string
	status int
	action Action
	exit   int
}

// table is the one place where a kind gets its meaning outside Go.
func table(k Kind) row {
	switch k {
	case Invalid:
		return row{"invalid", "Invalid request", http.StatusBadRequest, Park, 2}
	case NotFound:
		return row{"not_found", "Not found", http.StatusNotFound, Park, 3}
	case Conflict:
		return row{"conflict", "Conflict", http.StatusConflict, Retry, 4}
	case Denied:
		return row{"denied", "Denied", http.StatusForbidden, Park, 5}
	case Quota:
		return row{"quota", "Limit reached", http.StatusTooManyRequests, Park, 6}
	case Unavailable:
		return row{"unavailable", "Unavailable", http.StatusServiceUnavailable, Retry, 7}
	case Canceled:
		return row{"canceled", "Canceled", 499, Retry, 8}
	case Internal:
		return row{"internal", "Internal error", http.StatusInternalServerError, Park, 1}
	}
	return row{"internal", "Internal error", http.StatusInternalServerError, Park, 1}
}

// String is the kind's label, as used in metrics and problem documents.
func (k Kind) String() string { return table(k).label }

// Title is the kind's short text for people.
func (k Kind) Title() string { return table(k).title }

// HTTPStatus is the status a request that failed with this kind is answered with.
func (k Kind) HTTPStatus() int { return table(k).status }

// Action is what a consumer does with a message that failed with this kind.
func (k Kind) Action() Action { return table(k).action }

// ExitCode is the exit code of a command that failed with this kind; never 0.
func (k Kind) ExitCode() int { return table(k).exit }

// FromHTTPStatus is the kind of an answer with this status, for clients. 401 counts as Denied.
func FromHTTPStatus(status int) Kind {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return Denied
	case http.StatusNotFound, http.StatusGone:
		return NotFound
	case http.StatusConflict:
		return Conflict
	case http.StatusTooManyRequests:
		return Quota
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return Unavailable
	case 499:
		return Canceled
	}
	if status >= 400 && status < 500 {
		return Invalid
	}
	return Internal
}

// Error is an error with a kind, the operation that failed and, for people, how to mend it.
type Error struct {
	Kind Kind
	Op   string // "scheduler.spawn"
	Msg  string // one sentence; safe to show to a user
	Fix  string // what to do about it; may be empty
	Err  error  // cause; may be nil
}

// Error joins operation, message and cause.
func (e *Error) Error() string {
	s := e.Msg
	if e.Op != "" {
		s = e.Op + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of a kind.
func New(k Kind, op, msg string) *Error { return &Error{Kind: k, Op: op, Msg: msg} }

// Newf makes an error of a kind with a formatted message.
func Newf(k Kind, op, format string, args ...any) *Error {
	return &Error{Kind: k, Op: op, Msg: fmt.Sprintf(format, args...)}
}

// Wrap puts kind, operation and message around a cause.
func Wrap(k Kind, op, msg string, err error) *Error {
	return &Error{Kind: k, Op: op, Msg: msg, Err: err}
}

// WithFix returns a copy that also says how to mend the error.
func (e *Error) WithFix(fix string) *Error {
	c := *e
	c.Fix = fix
	return &c
}

// KindOf is the kind of the outermost Error in err's chain. Context errors are Canceled; any other
// error is Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Canceled
	}
	return Internal
}

// FixOf is the first fix named in err's chain, or "".
func FixOf(err error) string {
	var e *Error
	for errors.As(err, &e) {
		if e.Fix != "" {
			return e.Fix
		}
		err = e.Err
	}
	return ""
}

// Is reports whether err is of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }
