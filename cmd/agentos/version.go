package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionDocument says which program this is.
type versionDocument struct {
	Version  string `json:"version"` // of the module; "(devel)" for a build of a work tree
	Commit   string `json:"commit"`  // "" when the build did not know it
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which program this is",
		Args:  cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			v := build()
			if a.json {
				return writeJSON(cmd.OutOrStdout(), v)
			}
			commit := v.Commit
			switch {
			case commit == "":
				commit = "unknown"
			case v.Modified:
				commit += " with changes"
			}
			return writef(cmd.OutOrStdout(), "agentos %s\ncommit %s\n%s %s\n", v.Version, commit, v.Go, v.Platform)
		}),
	}
}

// version is the module's version.
func version() string { return build().Version }

func build() versionDocument {
	v := versionDocument{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}
