package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/cmd/agentos/internal/stack"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func keysCommand(a *app) *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make the passwords and keys of an installation in the data folder",
		Long: `Make what is missing in the data folder of the API key (api.key), the key the audit log is signed
with (audit.key), the passwords of the services' database roles (roles.json) and a password for the
database (database.password). What is there is kept. Services that run apart share the folder.

With --from nothing is made: api.key, audit.key and roles.json are taken from a folder, such as a
mounted secret, in place of what is there.

"agentos up" does this by itself.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			home, err := client.Home()
			if err != nil {
				return err
			}
			files, err := takeOrMake(from, home)
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(cmd.OutOrStdout(), files)
			}
			return writef(cmd.OutOrStdout(), "%s\n", strings.Join(files, "\n"))
		}),
	}
	cmd.Flags().StringVar(&from, "from", "", "take the keys from this folder")
	cmd.AddCommand(keysAPICommand(a), keysMasterCommand(a))
	return cmd
}

func takeOrMake(from, home string) ([]string, error) {
	if from != "" {
		return stack.TakeKeys(from, home)
	}
	return stack.MakeKeys(home)
}

func keysAPICommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "api",
		Short: "Print the API key",
		Args:  cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			home, err := client.Home()
			if err != nil {
				return err
			}
			key, err := os.ReadFile(stack.KeyFile(home))
			if err != nil {
				return fault.Wrap(fault.NotFound, "cli.keys", "there is no API key in the data folder "+home, err).
					WithFix("run `agentos keys`, or set AGENTOS_HOME to the data folder of the kernel")
			}
			text := strings.TrimSpace(string(key))
			if a.json {
				return writeJSON(cmd.OutOrStdout(), map[string]string{"api_key": text})
			}
			return writef(cmd.OutOrStdout(), "%s\n", text)
		}),
	}
}
