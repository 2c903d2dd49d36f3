package httpserver

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// status is the body of the health routes.
type status struct {
	Status string `json:"status"`
}

// public reports whether a path is served without an API key.
func public(path string) bool {
	switch path {
	case "/healthz", "/readyz":
		return true
	}
	return false
}

func (s *Server) systemRoutes() {
	s.echo.GET("/healthz", func(c echo.Context) error {
		return c.JSON(http.StatusOK, status{Status: "ok"})
	})
	s.echo.GET("/readyz", s.ready)
	s.echo.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{})))
	s.echo.GET("/openapi.yaml", func(c echo.Context) error {
		if len(s.cfg.Spec) == 0 {
			return fault.New(fault.NotFound, "httpserver.spec", "this server has no OpenAPI document")
		}
		return c.Blob(http.StatusOK, "application/yaml", s.cfg.Spec)
	})
}

// ready answers 503 whatever the kind of the error: a probe only asks whether to send requests here.
func (s *Server) ready(c echo.Context) error {
	select {
	case <-s.draining:
		return fault.New(fault.Unavailable, "httpserver.ready", "the server is stopping")
	default:
	}
	err := s.cfg.Ready(c.Request().Context())
	if err == nil {
		return c.JSON(http.StatusOK, status{Status: "ready"})
	}
	if !fault.Is(err, fault.Unavailable) {
		err = fault.Wrap(fault.Unavailable, "httpserver.ready", err.Error(), err).WithFix(fault.FixOf(err))
	}
	return err
}
