package stack

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// ServicePort is the port a service listens on when it is served alone and no other is given.
func ServicePort(name string) string {
	for i, p := range parts() {
		if p.name == name {
			return []string{"7441", "7442", "7443", "7444", "7445", "7446"}[i]
		}
	}
	return "7433"
}

// route is one path of the route table and the service that serves it.
type route struct {
	segments []string
	target   *httputil.ReverseProxy
}

// Edge gives the services, each at its own address, one address: it sends each request to the service
// whose tag the route carries in api/openapi.yaml. Paths of no service, such as /readyz, go to the
// scheduler; /healthz is its own: a scheduler that is away is no reason to restart the edge.
func Edge(upstreams map[string]string) (http.Handler, error) {
	const op = "stack.edge"
	doc, err := openapi3.NewLoader().LoadFromData(api.Spec())
	if err != nil {
		return nil, fault.Wrap(fault.Internal, op, "cannot read the route table", err)
	}
	proxies := map[string]*httputil.ReverseProxy{}
	for _, p := range parts() {
		at := upstreams[p.name]
		if at == "" {
			at = "http://127.0.0.1:" + ServicePort(p.name)
		}
		u, err := url.Parse(at)
		if err != nil || u.Host == "" {
			return nil, fault.Newf(fault.Invalid, op, "%q is not the URL of service %s", at, p.name).
				WithFix("write --upstream " + p.name + "=http://HOST:PORT")
		}
		rp := httputil.NewSingleHostReverseProxy(u)
		rp.FlushInterval = -1 // streams of events are passed on at once
		rp.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"type":"about:blank","title":"Unavailable","status":503,"code":"unavailable","detail":"service ` +
				p.name + ` does not answer","fix":"wait until it is up again, or start it"}`)) // the client has gone
		}
		proxies[p.name] = rp
	}
	var routes []route
	for path, item := range doc.Paths.Map() {
		for _, o := range item.Operations() {
			if len(o.Tags) > 0 && proxies[o.Tags[0]] != nil {
				routes = append(routes, route{strings.Split(path, "/"), proxies[o.Tags[0]]})
				break
			}
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"status":"ok"}`)) // the client has gone
			return
		}
		segments := strings.Split(r.URL.Path, "/")
		for _, rt := range routes {
			if rt.matches(segments) {
				rt.target.ServeHTTP(w, r)
				return
			}
		}
		proxies["scheduler"].ServeHTTP(w, r)
	}), nil
}

func (r route) matches(segments []string) bool {
	if len(r.segments) != len(segments) {
		return false
	}
	for i, s := range r.segments {
		if s != segments[i] && !strings.HasPrefix(s, "{") {
			return false
		}
	}
	return true
}

// RunEdge serves the edge until ctx ends; what runs then has the grace time, and is cut after it.
func RunEdge(ctx context.Context, addr string, grace time.Duration, upstreams map[string]string, onReady func(url string) error) error {
	h, err := Edge(upstreams)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fault.Wrap(fault.Unavailable, "stack.edge", "cannot listen on "+addr, err).WithFix("give another --http address")
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	if err := onReady("http://" + l.Addr().String()); err != nil {
		return errors.Join(err, l.Close())
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return fault.Wrap(fault.Internal, "stack.edge", "the edge stopped by itself", err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := srv.Shutdown(limit); err != nil {
		return srv.Close() // streams of events are open as long as their processes live
	}
	return nil
}
