package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/httpserver"
)

func healthCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "health [URL]",
		Short: "Ask a kernel, or one service, whether it is ready",
		Long: `Ask URL/readyz, without a key. Zero when it is ready; else not zero, with the reason.
The health checks of containers call this: their image has no shell and no other program.

URL is by default AGENTOS_URL, else ` + "http://" + httpserver.DefaultAddr + `.`,
		Args: cobra.MaximumNArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			url := "http://" + httpserver.DefaultAddr
			if at := os.Getenv(client.EnvURL); at != "" {
				url = at
			}
			if len(args) > 0 {
				url = args[0]
			}
			c, err := client.New(client.Config{URL: url})
			if err != nil {
				return err
			}
			if err := c.Ready(cmd.Context()); err != nil {
				return err
			}
			if a.json {
				return writeJSON(cmd.OutOrStdout(), map[string]string{"status": "ready", "url": url})
			}
			return writef(cmd.OutOrStdout(), "%s is ready\n", url)
		}),
	}
}
