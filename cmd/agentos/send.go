package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func sendCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "send PID TEXT…",
		Short: "Send a message to a process",
		Long:  `Send a message to a process. The text - is read from the standard input.`,
		Args:  cobra.MinimumNArgs(2),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			text, err := textOf(cmd, args[1:])
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			id, err := c.Send(cmd.Context(), args[0], text)
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(cmd.OutOrStdout(), api.MessageAccepted{MessageID: id})
			}
			return writef(cmd.OutOrStdout(), "message %s is in the mailbox of %s\n", id, args[0])
		}),
	}
}

// textOf is the text of the arguments, or the standard input when the only one is "-".
func textOf(cmd *cobra.Command, args []string) (string, error) {
	if len(args) != 1 || args[0] != "-" {
		return strings.Join(args, " "), nil
	}
	raw, err := io.ReadAll(cmd.InOrStdin())
	if err != nil {
		return "", fault.Wrap(fault.Unavailable, "cli.stdin", "the standard input cannot be read", err).
			WithFix("give the text as an argument")
	}
	return strings.TrimSuffix(string(raw), "\n"), nil
}
