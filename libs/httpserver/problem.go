package httpserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// ProblemType is the media type of a problem document.
const ProblemType = "application/problem+json"

// Problem is an error on the wire, RFC 9457.
type Problem struct {
	Type     string `json:"type"` // "about:blank": the title says what the status means
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"`
	Instance string `json:"instance,omitempty"` // path of the request
	Code     string `json:"code"`               // label of the fault's kind
	Fix      string `json:"fix,omitempty"`      // what to do about it
}

// statusError is a fault whose HTTP status is finer than its kind.
type statusError struct {
	status int
	title  string
	fault  *fault.Error
}

func (e *statusError) Error() string { return e.fault.Error() }

func (e *statusError) Unwrap() error { return e.fault }

// problemOf describes err to a caller. Causes stay inside: they may hold what is not the caller's.
func problemOf(err error) Problem {
	var (
		withStatus *statusError
		tooLarge   *http.MaxBytesError
		router     *echo.HTTPError
		known      *fault.Error
	)
	switch {
	case errors.As(err, &withStatus):
		p := ofFault(withStatus.fault)
		p.Status, p.Title = withStatus.status, withStatus.title
		return p
	case errors.As(err, &tooLarge):
		return problemOf(tooLargeError(tooLarge.Limit))
	case errors.As(err, &router):
		return ofRouter(router)
	case errors.As(err, &known):
		p := ofFault(known)
		p.Fix = fault.FixOf(err)
		return p
	}
	return ofFault(fault.New(fault.KindOf(err), "", "something unexpected happened; the server's log says what"))
}

func ofFault(e *fault.Error) Problem {
	return Problem{
		Type: "about:blank", Title: e.Kind.Title(), Status: e.Kind.HTTPStatus(),
		Detail: e.Msg, Code: e.Kind.String(), Fix: e.Fix,
	}
}

// ofRouter describes the errors of echo and of the generated parameter binding.
func ofRouter(e *echo.HTTPError) Problem {
	p := ofFault(&fault.Error{Kind: fault.FromHTTPStatus(e.Code), Msg: fmt.Sprint(e.Message)})
	p.Status = e.Code
	switch e.Code {
	case http.StatusNotFound:
		p.Detail, p.Fix = "no such route", "GET /openapi.yaml lists the routes"
	case http.StatusMethodNotAllowed:
		p.Title, p.Detail = "Method not allowed", "this route does not take this method"
		p.Fix = "the Allow header and GET /openapi.yaml list the methods"
	case http.StatusBadRequest:
		if name, ok := badParameter(p.Detail); ok {
			p.Detail = "parameter " + name + " has the wrong format"
		}
		p.Fix = "GET /openapi.yaml says what parameters the route takes"
	}
	return p
}

// badParameter is the parameter that the generated binding complains about; the rest of its text names
// functions of Go.
func badParameter(msg string) (string, bool) {
	rest, ok := strings.CutPrefix(msg, "Invalid format for parameter ")
	name, _, _ := strings.Cut(rest, ":")
	return name, ok
}

func tooLargeError(limit int64) error {
	return &statusError{
		status: http.StatusRequestEntityTooLarge, title: "Body too large",
		fault: fault.Newf(fault.Invalid, "httpserver.body", "the body is larger than %d bytes", limit).
			WithFix("send less; put large data into files of the workspace"),
	}
}

// writeError is echo's error handler: the one place where an error becomes a response, and where a
// fault of the kernel itself is logged.
func (s *Server) writeError(err error, c echo.Context) {
	p := problemOf(err)
	p.Instance = c.Request().URL.Path
	ctx := c.Request().Context()
	if p.Status == http.StatusInternalServerError {
		s.cfg.Logger.ErrorContext(ctx, "request failed", slog.String("method", c.Request().Method),
			slog.String("route", c.Path()), slog.String("request_id", requestID(c)), slog.Any("error", err))
	}
	if c.Response().Committed {
		return // a stream has begun: its end is all that can be said
	}
	body, err := json.Marshal(p)
	if err == nil {
		err = c.Blob(p.Status, ProblemType, body)
	}
	if err != nil {
		s.cfg.Logger.DebugContext(ctx, "problem not delivered", slog.Any("error", err))
	}
}
