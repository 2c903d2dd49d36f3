package openai

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// failure is one try that went wrong.
type failure struct {
	status  int           // HTTP status; 0 when there was no answer
	code    string        // the server's code, such as "insufficient_quota"
	param   string        // the parameter the server complains about
	message string        // for people
	kind    fault.Kind    // what the caller learns when it is not tried again
	again   bool          // another try may help
	after   time.Duration // how long the server asks to wait; 0: it does not say
	err     error
}

func (f *failure) Error() string {
	if f.status != 0 {
		return fmt.Sprintf("status %d: %s", f.status, f.message)
	}
	return f.message
}

func (f *failure) Unwrap() error { return f.err }

// fault is what the caller learns after the last try.
func (f *failure) fault(cfg Config, tries int) *fault.Error {
	msg := fmt.Sprintf("%s answered: %s", cfg.Name, f.message)
	if f.status == 0 {
		msg = fmt.Sprintf("%s at %s: %s", cfg.Name, cfg.BaseURL, f.message)
	}
	if tries > 1 {
		msg += fmt.Sprintf(" (%d tries)", tries)
	}
	e := fault.Wrap(f.kind, "openai.complete", msg, f.err)
	switch {
	case f.status == http.StatusUnauthorized || f.status == http.StatusForbidden:
		return e.WithFix("check the API key in " + defaultTo(cfg.KeyEnv, "the configuration"))
	case f.kind == fault.Quota:
		return e.WithFix("top up the account at " + cfg.Name + ", or use another model")
	case f.code == "context_length_exceeded":
		return e.WithFix("use a model with a larger context")
	case f.status == http.StatusNotFound:
		return e.WithFix("name a model that this server has; GET " + cfg.BaseURL + "/models lists them")
	case f.after > maxWait:
		return e.WithFix(fmt.Sprintf("try again in %s", f.after.Round(time.Second)))
	case f.status == 0:
		return e.WithFix("check that the server runs and can be reached")
	}
	return e
}

// otherLimit is the other name of the output limit, when the server complains about this one.
func (f *failure) otherLimit(limit string) (string, bool) {
	if f.status != http.StatusBadRequest || f.param != limit || f.code != "unsupported_parameter" {
		return "", false
	}
	if limit == limitNew {
		return limitOld, true
	}
	return limitNew, true
}

// maxErrorBytes bounds how much of an error answer is read.
const maxErrorBytes = 64 << 10

// wireError is the error object of the interface; engines put a plain string there.
type wireError struct {
	Message string `json:"message"`
	Type    string `json:"type"`
	Param   any    `json:"param"`
	Code    any    `json:"code"` // a string, or a number
}

func parseError(raw json.RawMessage) wireError {
	var e wireError
	if json.Unmarshal(raw, &e) == nil && e.Message != "" {
		return e
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return wireError{Message: text}
	}
	return wireError{Message: strings.TrimSpace(string(raw))}
}

func (e wireError) codeString() string {
	if e.Code == nil {
		return e.Type
	}
	return fmt.Sprint(e.Code)
}

func statusFailure(resp *http.Response) *failure {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
	var body struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
	}
	e := wireError{}
	if json.Unmarshal(data, &body) == nil {
		if len(body.Error) > 0 {
			e = parseError(body.Error)
		} else {
			e.Message = body.Message
		}
	}
	if e.Message == "" {
		e.Message = http.StatusText(resp.StatusCode)
	}
	f := newFailure(resp.StatusCode, e)
	f.after = retryAfter(resp.Header, time.Now())
	f.err = err
	return f
}

func newFailure(status int, e wireError) *failure {
	f := &failure{status: status, code: e.codeString(), message: clip(e.Message), kind: fault.FromHTTPStatus(status)}
	if param, ok := e.Param.(string); ok {
		f.param = param
	}
	switch {
	case outOfMoney(status, f.code, e.Type):
		f.kind = fault.Quota
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		f.again, f.kind = true, fault.Unavailable
	}
	return f
}

// outOfMoney is an error that no waiting mends.
func outOfMoney(status int, code, kind string) bool {
	for _, s := range []string{code, kind} {
		switch s {
		case "insufficient_quota", "billing_not_active", "billing_hard_limit_reached", "insufficient_balance",
			"quota_exceeded", "exceeded_current_quota_error":
			return true
		}
	}
	return status == http.StatusPaymentRequired
}

// retryAfter reads how long the server asks to wait: seconds, a date, or milliseconds in the form that
// OpenAI's clients honour.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms > 0 {
		return bounded(ms / 1000)
	}
	value := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(value, 64); err == nil && s > 0 {
		return bounded(s)
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

func bounded(seconds float64) time.Duration {
	return time.Duration(min(seconds, 7*24*3600) * float64(time.Second))
}

func clip(s string) string {
	const most = 500
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
