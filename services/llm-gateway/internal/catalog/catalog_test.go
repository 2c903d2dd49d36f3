package catalog_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentos-kernel/agentos/events/llm"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/catalog"
	"github.com/agentos-kernel/agentos/services/llm-gateway/internal/core"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestRowsFromTheEnvironment(t *testing.T) {
	t.Parallel()
	ollama := func(url string) catalog.Row { return catalog.Row{Name: "ollama", BaseURL: url, OnlyFound: true} }
	openai := func(url, key string) catalog.Row {
		return catalog.Row{Name: "openai", BaseURL: url, Key: key, KeyEnv: "OPENAI_API_KEY"}
	}
	tests := []struct {
		name string
		env  func(string) string
		want []catalog.Row
	}{
		{"nothing", env(), []catalog.Row{ollama("http://127.0.0.1:11434/v1")}},
		{"key", env("OPENAI_API_KEY", "k"), []catalog.Row{openai("https://api.openai.com/v1", "k"), ollama("http://127.0.0.1:11434/v1")}},
		{"engine without key", env("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"), []catalog.Row{openai("http://127.0.0.1:8000/v1", ""), ollama("http://127.0.0.1:11434/v1")}},
		{"ollama host", env("OLLAMA_HOST", "box"), []catalog.Row{ollama("http://box:11434/v1")}},
		{"ollama port", env("OLLAMA_HOST", ":9"), []catalog.Row{ollama("http://127.0.0.1:9/v1")}},
		{"ollama everywhere", env("OLLAMA_HOST", "0.0.0.0:99"), []catalog.Row{ollama("http://127.0.0.1:99/v1")}},
		{"ollama URL", env("OLLAMA_HOST", "https://box/api/"), []catalog.Row{ollama("https://box:443/api/v1")}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, catalog.FromEnv(tc.env)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func newCatalog(t *testing.T, folder string, rows ...catalog.Row) *catalog.Catalog {
	t.Helper()
	c, err := catalog.New(rows, cassette.NewLibrary(folder))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func models(list []llm.Model) string {
	var ids []string
	for _, m := range list {
		ids = append(ids, m.ID)
	}
	return strings.Join(ids, " ")
}

func TestEnginesAreOfferedWhileTheyAnswer(t *testing.T) {
	t.Parallel()
	up := true
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !up || r.URL.Path != "/v1/models" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprint(w, `{"data":[{"id":"qwen:3b"},{"id":"llama","max_model_len":8192},{"id":""}]}`)
	}))
	t.Cleanup(srv.Close)
	c := newCatalog(t, t.TempDir(), catalog.Row{Name: "ollama", BaseURL: srv.URL + "/v1", OnlyFound: true})
	if _, err := c.Resolve("ollama/llama"); !fault.Is(err, fault.Unavailable) || len(c.Models()) != 0 {
		t.Errorf("before it was found: %v, %s", err, models(c.Models()))
	}
	c.Refresh(t.Context())
	if got := models(c.Models()); got != "ollama/llama ollama/qwen:3b" {
		t.Errorf("offered %s", got)
	}
	target, err := c.Resolve("ollama/llama")
	if err != nil || target.Upstream != "llama" || target.ContextTokens != 8192 || target.Price != (core.Price{Known: true}) || target.Recorded {
		t.Errorf("%+v: %v", target, err)
	}
	if _, err := c.Resolve("ollama/none"); !fault.Is(err, fault.NotFound) || !strings.Contains(fault.FixOf(err), "qwen:3b") {
		t.Errorf("an unknown model: %v, fix %q", err, fault.FixOf(err))
	}
	up = false
	c.Refresh(t.Context())
	if _, err := c.Resolve("ollama/llama"); !fault.Is(err, fault.Unavailable) || len(c.Models()) != 0 {
		t.Errorf("after it went away: %v", err)
	}
}

func TestPricesAreKnownOrUnknownNeverGuessed(t *testing.T) {
	t.Parallel()
	official := newCatalog(t, t.TempDir(), catalog.Row{Name: "openai", BaseURL: "https://api.openai.com/v1", Key: "k"})
	elsewhere := newCatalog(t, t.TempDir(), catalog.Row{Name: "openai", BaseURL: "https://llm.example.com/v1", Key: "k"})
	local := newCatalog(t, t.TempDir(), catalog.Row{Name: "openai", BaseURL: "http://localhost:1/v1"})
	tests := []struct {
		name    string
		catalog *catalog.Catalog
		model   string
		price   core.Price
		context int
	}{
		{"in the table", official, "openai/gpt-4o", core.Price{Known: true, Input: 2_500_000, Cached: 1_250_000, Output: 10_000_000}, 128_000},
		{"cache writes cost extra", official, "openai/gpt-5.6-sol", core.Price{Known: true, Input: 5_000_000, Cached: 500_000, Write: 6_250_000, Output: 30_000_000}, 1_050_000},
		{"not in the table", official, "openai/gpt-99", core.Price{}, 0},
		{"another server", elsewhere, "openai/gpt-4o", core.Price{}, 0},
		{"an engine here", local, "openai/anything", core.Price{Known: true}, 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			target, err := tc.catalog.Resolve(tc.model)
			if err != nil || target.Price != tc.price || target.ContextTokens != tc.context || target.Provider == nil {
				t.Errorf("%+v: %v", target, err)
			}
		})
	}
	list := official.Models()
	if list[0].ID != "openai/*" || list[0].InputMicro != -1 || len(list) < 20 {
		t.Errorf("offered %+v", list)
	}
	for _, m := range list[1:] {
		if m.InputMicro <= 0 || m.OutputMicro <= m.InputMicro || m.CachedMicro <= 0 || m.CachedMicro > m.InputMicro || m.ContextTokens < 100_000 {
			t.Errorf("odd row %+v", m)
		}
	}
	if got := local.Models(); len(got) != 1 || got[0].ID != "openai/*" || got[0].InputMicro != 0 {
		t.Errorf("an engine that was not asked yet: %+v", got)
	}
}

func TestCassettesAreModels(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, text := range map[string]string{
		"script.jsonl": `{"cassette":1,"name":"script","source":"","license":"","model":"","origin":"script","tools":[]}`,
		"real.jsonl":   `{"cassette":1,"name":"real","source":"","license":"","model":"m","origin":"provider","tools":[]}`,
		"broken.jsonl": "{",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := newCatalog(t, folder)
	want := []llm.Model{{ID: "replay/real", Source: "recording"}, {ID: "replay/script", Source: "script"}}
	if diff := cmp.Diff(want, c.Models()); diff != "" {
		t.Error(diff)
	}
	target, err := c.Resolve("replay/real")
	if err != nil || !target.Recorded || target.Ended == nil || !target.Price.Known {
		t.Errorf("%+v: %v", target, err)
	}
	for model, kind := range map[string]fault.Kind{
		"replay/broken": fault.Invalid, "replay/none": fault.NotFound, "replay/../real": fault.Invalid, "replay/": fault.NotFound,
		"gpt-4o": fault.NotFound, "": fault.NotFound, "openai/gpt-4o": fault.NotFound, "x/y": fault.NotFound,
	} {
		if _, err := c.Resolve(model); !fault.Is(err, kind) || (kind == fault.NotFound && fault.FixOf(err) == "") {
			t.Errorf("%q: %v", model, err)
		}
	}
	if _, err := catalog.New([]catalog.Row{{Name: "replay", BaseURL: "http://x"}}, cassette.NewLibrary()); !fault.Is(err, fault.Invalid) {
		t.Errorf("a provider named replay: %v", err)
	}
}
