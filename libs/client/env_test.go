package client_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// The tests of this file set environment variables and so cannot be parallel.

func setEnv(t *testing.T, url, key, home string) {
	t.Helper()
	t.Setenv(client.EnvURL, url)
	t.Setenv(client.EnvKey, key)
	t.Setenv(client.EnvKeyFile, "")
	t.Setenv(client.EnvHome, home)
}

func TestHome(t *testing.T) {
	for name, tc := range map[string]struct{ own, xdg, want string }{
		"own":          {"/srv/agentos", "/data", "/srv/agentos"},
		"xdg":          {"", "/data", "/data/agentos"},
		"relative xdg": {"", "data", "/home/ada/.local/share/agentos"},
		"home":         {"", "", "/home/ada/.local/share/agentos"},
	} {
		t.Setenv(client.EnvHome, tc.own)
		t.Setenv("XDG_DATA_HOME", tc.xdg)
		t.Setenv("HOME", "/home/ada")
		if got, err := client.Home(); got != tc.want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	setEnv(t, "", "", "")
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("HOME", "")
	if _, err := client.Home(); !fault.Is(err, fault.Invalid) || fault.FixOf(err) == "" {
		t.Errorf("no home: %v", err)
	}
}

func TestFromEnv(t *testing.T) { //nolint:paralleltest // setEnv sets environment variables
	home := t.TempDir()
	keyFile := filepath.Join(home, "api.key")
	if err := os.WriteFile(keyFile, []byte("filekey\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	setEnv(t, "", "", home)
	if _, err := client.FromEnv(); !fault.Is(err, fault.Unavailable) || fault.FixOf(err) != client.FixStart {
		t.Errorf("nothing runs: %v", err)
	}
	up := client.Up{URL: "http://127.0.0.1:1", APIKeyFile: keyFile, OSPID: 7}
	if err := client.WriteUp(home, up); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ url, key, wantURL, wantKey string }{
		"up.json":            {"", "", up.URL, "filekey"},
		"own key":            {"", "k", up.URL, "k"},
		"both":               {"http://other", "k", "http://other", "k"},
		"the same address":   {up.URL + "/", "", up.URL, "filekey"},
		"no key for another": {"http://other", "", "", ""},
	} {
		setEnv(t, tc.url, tc.key, home)
		cfg, err := client.FromEnv()
		if cfg.URL != tc.wantURL || cfg.Key != tc.wantKey || (tc.wantURL == "") != fault.Is(err, fault.Denied) {
			t.Errorf("%s: %q, %v", name, cfg.URL, err)
		}
	}
}

func TestUpFile(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	up := client.Up{URL: "http://127.0.0.1:1", APIKeyFile: "/k", OSPID: 7}
	if err := client.WriteUp(home, up); err != nil {
		t.Fatal(err)
	}
	if got, err := client.ReadUp(home); got != up || err != nil {
		t.Errorf("read %+v, %v", got, err)
	}
	raw, err := os.ReadFile(filepath.Join(home, "up.json"))
	if err != nil || strings.TrimSpace(string(raw)) != `{"url":"http://127.0.0.1:1","api_key_file":"/k","os_pid":7}` {
		t.Errorf("file %s, %v", raw, err)
	}
	if err := client.RemoveUp(home, 8); err != nil {
		t.Error(err)
	}
	if _, err := client.ReadUp(home); err != nil {
		t.Errorf("another process removed it: %v", err)
	}
	if err := client.RemoveUp(home, 7); err != nil {
		t.Error(err)
	}
	if _, err := client.ReadUp(home); !fault.Is(err, fault.Unavailable) {
		t.Errorf("not removed: %v", err)
	}
	if err := os.WriteFile(filepath.Join(home, "up.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.ReadUp(home); !fault.Is(err, fault.Unavailable) || fault.FixOf(err) == "" {
		t.Errorf("damaged: %v", err)
	}
	if err := client.WriteUp(filepath.Join(home, "nothing"), up); !fault.Is(err, fault.Unavailable) {
		t.Errorf("no folder: %v", err)
	}
}

func TestKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	setEnv(t, "http://kernel", "", t.TempDir())
	t.Setenv(client.EnvKeyFile, file)
	if _, err := client.FromEnv(); !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), client.EnvKeyFile) {
		t.Errorf("no such file: %v", err)
	}
	if err := os.WriteFile(file, []byte("filekey\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err := client.FromEnv(); err != nil || cfg.Key != "filekey" || cfg.URL != "http://kernel" {
		t.Errorf("from the file: %+v, %v", cfg, err)
	}
	t.Setenv(client.EnvKey, "k")
	if cfg, err := client.FromEnv(); err != nil || cfg.Key != "k" {
		t.Errorf("the variable goes first: %+v, %v", cfg, err)
	}
}
