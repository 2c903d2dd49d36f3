package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agentos-kernel/agentos/libs/fault"
)

// The environment variables of a client.
const (
	EnvURL     = "AGENTOS_URL"
	EnvKey     = "AGENTOS_API_KEY"
	EnvKeyFile = "AGENTOS_API_KEY_FILE" // a file with the key, in place of EnvKey
	EnvHome    = "AGENTOS_HOME"
)

const upFile = "up.json"

// Home is the data folder: AGENTOS_HOME, else agentos under XDG_DATA_HOME, else under ~/.local/share.
// It need not exist.
func Home() (string, error) {
	if home := os.Getenv(EnvHome); home != "" {
		abs, err := filepath.Abs(home)
		if err != nil {
			return "", fault.Wrap(fault.Invalid, "client.home", "AGENTOS_HOME is no path", err).WithFix("set it to an absolute path")
		}
		return abs, nil
	}
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "agentos"), nil
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", fault.Wrap(fault.Invalid, "client.home", "there is no home folder to keep data in", err).
			WithFix("set AGENTOS_HOME to a folder of yours")
	}
	return filepath.Join(user, ".local", "share", "agentos"), nil
}

// Up is what `agentos up` says about itself: the line it prints with --json, and the file up.json in
// the data folder while it runs.
type Up struct {
	URL        string `json:"url"`
	APIKeyFile string `json:"api_key_file"`
	OSPID      int    `json:"os_pid"`
}

// WriteUp leaves up.json in home, whole or not at all.
func WriteUp(home string, up Up) error {
	const op = "client.write_up"
	raw, err := json.Marshal(up)
	if err != nil {
		return fault.Wrap(fault.Internal, op, "up.json cannot be encoded", err)
	}
	path := filepath.Join(home, upFile)
	temporary := fmt.Sprintf("%s.%d", path, up.OSPID)
	if err := os.WriteFile(temporary, append(raw, '\n'), 0o600); err != nil {
		return fault.Wrap(fault.Unavailable, op, "up.json cannot be written", err).WithFix("make " + home + " writable")
	}
	if err := os.Rename(temporary, path); err != nil {
		return fault.Wrap(fault.Unavailable, op, "up.json cannot be written", errors.Join(err, os.Remove(temporary))).
			WithFix("make " + home + " writable")
	}
	return nil
}

// ReadUp reads what WriteUp left. A missing file means that no kernel runs: Unavailable with FixStart.
func ReadUp(home string) (Up, error) {
	const op = "client.read_up"
	path := filepath.Join(home, upFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Up{}, fault.Newf(fault.Unavailable, op, "no kernel runs with the data folder %s", home).WithFix(FixStart)
	}
	if err != nil {
		return Up{}, fault.Wrap(fault.Unavailable, op, path+" cannot be read", err).
			WithFix("run as the user who started the kernel, or set AGENTOS_URL and AGENTOS_API_KEY")
	}
	var up Up
	if err := json.Unmarshal(raw, &up); err != nil || up.URL == "" {
		return Up{}, fault.Wrap(fault.Unavailable, op, path+" is damaged", err).WithFix("restart the kernel: agentos up")
	}
	return up, nil
}

// RemoveUp takes up.json away, if it is still the one of this process.
func RemoveUp(home string, osPID int) error {
	up, err := ReadUp(home)
	if err != nil || up.OSPID != osPID {
		return nil //nolint:nilerr // gone, damaged or another's: nothing of ours to remove
	}
	if err := os.Remove(filepath.Join(home, upFile)); err != nil {
		return fault.Wrap(fault.Unavailable, "client.remove_up", "up.json cannot be removed", err).WithFix("make " + home + " writable")
	}
	return nil
}

// FromEnv finds the kernel: AGENTOS_URL, and AGENTOS_API_KEY or the file AGENTOS_API_KEY_FILE names, and what is
// missing of them in up.json.
// The key of up.json is never sent to another address than the one written beside it.
func FromEnv() (Config, error) {
	cfg := Config{URL: os.Getenv(EnvURL), Key: os.Getenv(EnvKey)}
	if file := os.Getenv(EnvKeyFile); cfg.Key == "" && file != "" {
		raw, err := os.ReadFile(file) //nolint:gosec // the user names a file of theirs
		if err != nil {
			return Config{}, fault.Wrap(fault.Denied, "client.env", "the file that AGENTOS_API_KEY_FILE names cannot be read", err).
				WithFix("name a file that holds the API key and that you can read")
		}
		cfg.Key = strings.TrimSpace(string(raw))
	}
	if cfg.URL != "" && cfg.Key != "" {
		return cfg, nil
	}
	home, err := Home()
	if err != nil {
		return Config{}, err
	}
	up, err := ReadUp(home)
	switch {
	case cfg.URL != "" && (err != nil || up.URL != strings.TrimSuffix(cfg.URL, "/")):
		return Config{}, fault.New(fault.Denied, "client.env", "AGENTOS_URL is set, but AGENTOS_API_KEY is not").
			WithFix("set AGENTOS_API_KEY to the key of that kernel")
	case err != nil:
		return Config{}, err
	}
	cfg.URL = up.URL
	if cfg.Key != "" {
		return cfg, nil
	}
	raw, err := os.ReadFile(up.APIKeyFile)
	if err != nil {
		return Config{}, fault.Wrap(fault.Denied, "client.env", "the API key cannot be read", err).
			WithFix("run as the user who started the kernel, or set AGENTOS_API_KEY")
	}
	cfg.Key = strings.TrimSpace(string(raw))
	return cfg, nil
}
