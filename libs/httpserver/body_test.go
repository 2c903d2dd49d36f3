package httpserver_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
)

type input struct {
	Name  string   `json:"name"`
	Count int      `json:"count"`
	Tags  []string `json:"tags"`
}

func echoInput(g *echo.Group) {
	g.POST("/in", func(c echo.Context) error {
		var in input
		if err := httpserver.Decode(c, &in); err != nil {
			return err
		}
		key, hash := httpserver.IdempotencyKey(c)
		return c.JSON(http.StatusOK, map[string]any{"in": in, "key": key, "hash": hash})
	})
}

func TestDecodeIsStrict(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil, echoInput)
	for name, tc := range map[string]struct {
		body   string
		status int
		detail string
	}{
		"good":              {`{"name":"a<b","count":1}`, 200, ""},
		"good with space":   {" {\"name\":\"a\"}\n", 200, ""},
		"escaped backslash": {`{"name":"\\u0000"}`, 200, ""},
		"unknown field":     {`{"name":"a","extra":1}`, 400, `unknown field "extra"`},
		"wrong type":        {`{"count":"x"}`, 400, `field "count" cannot be of type string (byte 12)`},
		"not an object":     {`[1]`, 400, `the body cannot be of type array (byte 1)`},
		"malformed":         {`{"name":}`, 400, `malformed JSON at byte 9: invalid character '}' looking for beginning of value`},
		"breaks off":        {`{"name":"a`, 400, `malformed JSON: it breaks off at byte 10`},
		"empty":             {"", 400, "the body is empty"},
		"blank":             {" \n", 400, "the body is empty"},
		"trailing value":    {`{"name":"a"}{}`, 400, `more data after the JSON value, at byte 13`},
		"trailing garbage":  {`{"name":"a"}x`, 400, `more data after the JSON value, at byte 12`},
		"not UTF-8":         {"{\"name\":\"\xff\"}", 400, "the body is not UTF-8"},
		"NUL":               {`{"name":"a\u0000b"}`, 400, "a text holds the character U+0000, which cannot be kept"},
		"NUL deep":          {`{"tags":["\u0000"]}`, 400, "a text holds the character U+0000, which cannot be kept"},
		"too large":         {`{"name":"` + strings.Repeat("x", 100) + `"}`, 413, "the body is larger than 100 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := call(t, s, request(t, http.MethodPost, "/in", tc.body))
			if w.Code != tc.status || p.Detail != tc.detail {
				t.Errorf("status %d, detail %q, want %d, %q", w.Code, p.Detail, tc.status, tc.detail)
			}
			if w.Code != 200 && (p.Fix == "" || p.Code != "invalid") {
				t.Errorf("problem %+v", p)
			}
			if name == "good" && !strings.Contains(w.Body.String(), "a<b") {
				t.Errorf("text was escaped: %s", w.Body)
			}
		})
	}
}

func TestBodyOfUnknownLengthIsLimited(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil, echoInput)
	r := request(t, http.MethodPost, "/in", "")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat(" ", 200))), -1
	if w, p := call(t, s, r); w.Code != 413 || p.Title != "Body too large" {
		t.Errorf("status %d, problem %+v", w.Code, p)
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil, func(g *echo.Group) {
		echoInput(g)
		g.POST("/other", func(c echo.Context) error {
			if err := httpserver.Decode(c, &input{}); err != nil {
				return err
			}
			_, hash := httpserver.IdempotencyKey(c)
			return c.JSON(http.StatusOK, map[string]any{"hash": hash})
		})
	})
	send := func(path, body string) string {
		r := request(t, http.MethodPost, path, body)
		r.Header.Set("Idempotency-Key", "k1")
		w, _ := call(t, s, r)
		_, hash, _ := strings.Cut(w.Body.String(), `"hash":"`)
		return hash[:64]
	}
	first := send("/in", `{"name":"a"}`)
	if again := send("/in", `{"name":"a"}`); again != first {
		t.Error("the same request has another hash")
	}
	if send("/in", `{"name":"b"}`) == first || send("/other", `{"name":"a"}`) == first {
		t.Error("another request has the same hash")
	}
	for name, keys := range map[string][]string{"empty": {""}, "long": {strings.Repeat("k", 256)}, "two": {"a", "b"}} {
		r := request(t, http.MethodPost, "/in", `{}`)
		r.Header["Idempotency-Key"] = keys
		if w, p := call(t, s, r); w.Code != 400 || p.Fix == "" {
			t.Errorf("%s: status %d, problem %+v", name, w.Code, p)
		}
	}
}

func TestPageLimit(t *testing.T) {
	t.Parallel()
	for _, bad := range []int{-1, 0, 1001} {
		if _, err := httpserver.PageLimit(&bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("limit %d: %v", bad, err)
		}
	}
	most := httpserver.MaxPage
	if n, err := httpserver.PageLimit(&most); n != most || err != nil {
		t.Errorf("limit %d, %v", n, err)
	}
	if n, err := httpserver.PageLimit(nil); n != httpserver.DefaultPage || err != nil {
		t.Errorf("limit %d, %v", n, err)
	}
}
