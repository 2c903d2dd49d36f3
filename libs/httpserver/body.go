package httpserver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const (
	bodyKey              = "agentos.body"
	idempotencyHeader    = "Idempotency-Key"
	maxIdempotencyLength = 255
)

// limit bounds the body, and refuses what is declared too large before a byte of it is read.
func (s *Server) limit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength > s.cfg.MaxBody {
			c.Response().Header().Set("Connection", "close")
			return tooLargeError(s.cfg.MaxBody)
		}
		r.Body = http.MaxBytesReader(c.Response(), r.Body, s.cfg.MaxBody)
		if keys, sent := r.Header[idempotencyHeader]; sent {
			if len(keys) > 1 || keys[0] == "" || len(keys[0]) > maxIdempotencyLength {
				return fault.Newf(fault.Invalid, "httpserver.idempotency",
					"Idempotency-Key must be one text of 1 to %d characters", maxIdempotencyLength).
					WithFix("use a new random id for each new request, and the same one to repeat it")
			}
		}
		return next(c)
	}
}

// body reads the request's body once and keeps it for the second caller.
func body(c echo.Context) ([]byte, error) {
	const op = "httpserver.body"
	if kept, ok := c.Get(bodyKey).([]byte); ok {
		return kept, nil
	}
	// A recorder in a test has no deadlines; a connection always has.
	rc := http.NewResponseController(c.Response())
	if err := rc.SetReadDeadline(time.Now().Add(readBodyTimeout)); err == nil {
		defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	}
	raw, err := io.ReadAll(c.Request().Body)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLargeError(tooLarge.Limit)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, "the body did not arrive whole", err).WithFix("send the request again")
	}
	c.Set(bodyKey, raw)
	return raw, nil
}

// IdempotencyKey is the request's Idempotency-Key, "" when it has none, and a hash (hex) of what it
// asks for: method, path and body. It is meant to be called after Decode: a body that nobody read by
// then counts as empty.
func IdempotencyKey(c echo.Context) (key, hash string) {
	raw, _ := c.Get(bodyKey).([]byte)
	h := sha256.New()
	// Neither method nor path holds a newline, so the parts cannot be shifted into each other.
	_, _ = fmt.Fprintf(h, "%s\n%s\n", c.Request().Method, c.Request().URL.EscapedPath())
	_, _ = h.Write(raw)
	return c.Request().Header.Get(idempotencyHeader), hex.EncodeToString(h.Sum(nil))
}

// Decode reads the body as one JSON value into v. An unknown field, a wrong type, malformed or missing
// JSON, text that is not UTF-8 or holds a NUL, and anything behind the value are Invalid and say where.
// The Content-Type is not looked at: a body is JSON whatever a client calls it.
func Decode(c echo.Context, v any) error {
	raw, err := body(c)
	if err != nil {
		return err
	}
	return decodeJSON(raw, v)
}

func decodeJSON(raw []byte, v any) error {
	const op = "httpserver.decode"
	if len(bytes.TrimSpace(raw)) == 0 {
		return fault.New(fault.Invalid, op, "the body is empty").WithFix("send a JSON object")
	}
	if !utf8.Valid(raw) {
		return fault.New(fault.Invalid, op, "the body is not UTF-8").WithFix("encode the body as UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return decodeFault(op, err, len(raw))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fault.Newf(fault.Invalid, op, "more data after the JSON value, at byte %d", dec.InputOffset()).
			WithFix("send exactly one JSON object")
	}
	if holdsNUL(raw) {
		return fault.New(fault.Invalid, op, "a text holds the character U+0000, which cannot be kept").
			WithFix("remove the character")
	}
	return nil
}

// holdsNUL reports whether a string of a valid JSON document has a NUL. Postgres text cannot hold one,
// so it must not get past the door.
func holdsNUL(raw []byte) bool {
	if !bytes.Contains(raw, []byte(`\u0000`)) {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	for {
		token, err := dec.Token()
		if err != nil {
			return false
		}
		if text, ok := token.(string); ok && strings.ContainsRune(text, 0) {
			return true
		}
	}
}

func decodeFault(op string, err error, size int) error {
	var (
		syntax *json.SyntaxError
		typed  *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &syntax):
		return fault.Wrap(fault.Invalid, op, fmt.Sprintf("malformed JSON at byte %d: %s", syntax.Offset, syntax.Error()), err).
			WithFix("send valid JSON")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault.Wrap(fault.Invalid, op, fmt.Sprintf("malformed JSON: it breaks off at byte %d", size), err).
			WithFix("send the whole JSON object")
	case errors.As(err, &typed):
		where := fmt.Sprintf("field %q", typed.Field)
		if typed.Field == "" {
			where = "the body"
		}
		return fault.Wrap(fault.Invalid, op, fmt.Sprintf("%s cannot be of type %s (byte %d)", where, typed.Value, typed.Offset), err).
			WithFix("GET /openapi.yaml says what type it has")
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fault.Wrap(fault.Invalid, op, "unknown field "+field, err).
			WithFix("remove the field, or write it as GET /openapi.yaml does")
	}
	return fault.Wrap(fault.Invalid, op, "the body does not fit", err).WithFix("GET /openapi.yaml says what it must be")
}
