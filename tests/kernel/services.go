package kernel

import (
	"path/filepath"
	"testing"

	"github.com/agentos-kernel/agentos/libs/client"
)

// Names are the services in the order they are started.
func Names() []string {
	return []string{"scheduler", "context", "llm-gateway", "tools", "audit", "learning"}
}

// Services is the kernel with each service in a process of its own beside `serve infra`, behind an edge.
type Services struct {
	Home, URL, Roots string
	Infra            *Process
	Procs            map[string]*Process
	Ports            map[string]string // host:port of each service
	Client           *client.Client
}

// Serve starts everything and waits until all of it is ready.
func Serve(t testing.TB) *Services {
	t.Helper()
	home := Home(t)
	s := &Services{Home: home, Roots: filepath.Join(home, "workspaces"), Procs: map[string]*Process{}, Ports: map[string]string{}}
	s.StartInfra(t)
	edge := "127.0.0.1:" + Port(t)
	args := []string{"serve", "edge", "--json", "--http", edge}
	for _, n := range Names() {
		s.Ports[n] = "127.0.0.1:" + Port(t)
		args = append(args, "--upstream", n+"=http://"+s.Ports[n])
		s.Start(t, n)
	}
	for _, n := range Names() {
		s.Procs[n].Ready(t, startLimit)
	}
	Start(t, home, "edge", nil, args...).Ready(t, startLimit)
	s.URL = "http://" + edge
	s.Client = Client(t, home, s.URL)
	return s
}

// StartInfra starts database and broker.
func (s *Services) StartInfra(t testing.TB) {
	t.Helper()
	s.Infra = Start(t, s.Home, "infra", nil, "serve", "infra", "--json")
	s.Infra.Ready(t, startLimit)
}

// Start starts one service and does not wait for it.
func (s *Services) Start(t testing.TB, name string) {
	t.Helper()
	args := append([]string{"serve", name, "--json", "--http", s.Ports[name], "--workspace-root", s.Roots}, Examples(t)...)
	s.Procs[name] = Start(t, s.Home, name, nil, args...)
}
