package httpserver

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/agentos-kernel/agentos/libs/fault"
)

const tenantKey = "agentos.tenant"

// StaticKey is Config.APIKeys for an installation with one key. It compares digests in constant time,
// so that neither content nor length of the key can be measured.
func StaticKey(key, tenant string) func(string) (string, bool) {
	want := sha256.Sum256([]byte(key))
	return func(got string) (string, bool) {
		sum := sha256.Sum256([]byte(got))
		if key == "" || subtle.ConstantTimeCompare(sum[:], want[:]) != 1 {
			return "", false
		}
		return tenant, true
	}
}

// Tenant is whose key the request carries; "" on the routes that need none.
func Tenant(c echo.Context) string {
	tenant, _ := c.Get(tenantKey).(string)
	return tenant
}

func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if public(c.Request().URL.Path) {
			return next(c)
		}
		scheme, key, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " ")
		if !strings.EqualFold(scheme, "Bearer") || key == "" {
			return unauthorized(c, "the API key is missing")
		}
		tenant, ok := s.cfg.APIKeys(strings.TrimSpace(key))
		if !ok {
			return unauthorized(c, "the API key is wrong")
		}
		c.Set(tenantKey, tenant)
		return next(c)
	}
}

func unauthorized(c echo.Context, msg string) error {
	c.Response().Header().Set(echo.HeaderWWWAuthenticate, "Bearer")
	return &statusError{
		status: http.StatusUnauthorized, title: "Unauthorized",
		fault: fault.New(fault.Denied, "httpserver.auth", msg).
			WithFix("send the header Authorization: Bearer KEY; the key lies in the api_key_file that agentos up names"),
	}
}
