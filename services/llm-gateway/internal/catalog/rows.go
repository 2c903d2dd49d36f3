package catalog

import (
	"net"
	"net/url"
	"strings"

	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/provider/openai"
)

// Row is one server with the OpenAI chat completions interface.
type Row struct {
	Name    string // first part of its models' names
	BaseURL string // with the version path
	Key     string
	KeyEnv  string // the variable Key comes from
	// OnlyFound offers the row's models only while the server answers, as for an engine that may or may
	// not run on this machine.
	OnlyFound bool
}

// The names of the rows made from the environment.
const (
	OpenAI = "openai"
	Ollama = "ollama"
	Replay = "replay" // models of the cassettes
)

const (
	openAIURL  = "https://api.openai.com/v1"
	ollamaHost = "127.0.0.1:11434"
)

// FromEnv is the rows for the usual variables: OPENAI_API_KEY, OPENAI_BASE_URL and OLLAMA_HOST.
func FromEnv(getenv func(string) string) []Row {
	base := getenv("OPENAI_BASE_URL")
	key := getenv("OPENAI_API_KEY")
	var rows []Row
	if base != "" || key != "" {
		if base == "" {
			base = openAIURL
		}
		rows = append(rows, Row{Name: OpenAI, BaseURL: base, Key: key, KeyEnv: "OPENAI_API_KEY"})
	}
	return append(rows, Row{Name: Ollama, BaseURL: ollamaURL(getenv("OLLAMA_HOST")), OnlyFound: true})
}

// ollamaURL understands what Ollama does: "host", "host:port", ":port" or a URL. The address a server
// listens on everywhere (0.0.0.0) is reached on loopback.
func ollamaURL(host string) string {
	if host == "" {
		host = ollamaHost
	}
	scheme, rest, ok := strings.Cut(host, "://")
	if !ok {
		scheme, rest = "http", host
	}
	rest = strings.TrimSuffix(rest, "/")
	path := ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		rest, path = rest[:i], rest[i:]
	}
	name, port, err := net.SplitHostPort(rest)
	if err != nil {
		name, port = strings.Trim(rest, "[]"), "11434"
		if ok && scheme == "https" {
			port = "443"
		}
	}
	if name == "" || name == "0.0.0.0" || name == "::" {
		name = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(name, port) + path + "/v1"
}

// local reports whether the server runs on this machine, where answers cost nothing.
func (r Row) local() bool {
	u, err := url.Parse(r.BaseURL)
	if err != nil {
		return false
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || (ip != nil && ip.IsLoopback())
}

// official reports whether OpenAI itself answers, so that its prices hold.
func (r Row) official() bool {
	u, err := url.Parse(r.BaseURL)
	return err == nil && (u.Hostname() == "api.openai.com" || strings.HasSuffix(u.Hostname(), ".api.openai.com"))
}

func (r Row) provider() (*openai.Provider, error) {
	cfg := openai.Config{Name: r.Name, BaseURL: r.BaseURL, Key: r.Key, KeyEnv: r.KeyEnv}
	if r.local() {
		cfg.LimitField = "max_tokens" // what engines understand
	}
	return openai.New(cfg)
}
