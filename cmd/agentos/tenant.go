package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/cmd/agentos/internal/stack"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/seal"
)

// masterKeyFile is the file with the key that the bodies of events are sealed under, or "".
func masterKeyFile() string { return os.Getenv(seal.Variable) }

func tenantCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tenant",
		Short: "Erase what a tenant's agents have said, or change the master key",
		Long: `With AGENTOS_MASTER_KEY_FILE set, the bodies of events are sealed before they are stored: each
tenant has a data key of its own, kept in the event store and wrapped by the master key. The
same ciphertext is stored, sent over Kafka and kept in the audit log. Without the variable
nothing is sealed. "agentos keys master FILE" makes a master key. Keep a copy of it apart from
the database: without it nothing that was sealed can be read.

Read models and snapshots of a tenant that is not erased are plain text in the services' own
schemas. Token deltas travel unsealed on their own topic and are gone after ten minutes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(tenantEraseCommand(a), tenantRekeyCommand(a))
	return cmd
}

func tenantEraseCommand(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "erase TENANT",
		Short: "Make all that a tenant's agents have said unreadable, for good",
		Long: `Delete a tenant's data key, and its rows in the tables of all services. What was said is
unreadable from then on in the event store, on Kafka and in the audit log, whose proofs still
hold: "agentos audit verify" passes before and after. Nothing brings it back. What the tenant
does afterwards is sealed with a new key.

Without --yes it says what would be erased and changes nothing. It refuses while processes of
the tenant have not ended, and when events of the tenant are from before bodies were sealed,
for those would stay readable. No service may run: stop "agentos up" and run "agentos serve
infra" meanwhile.

Envelopes stay: ids, times, kinds and stream names. So do files in workspaces and backups of
the database that hold the wrapped key: what those hold is for you to remove.`,
		Args: cobra.ExactArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			infra, cfg, err := offline()
			if err != nil {
				return err
			}
			out, err := stack.Erase(cmd.Context(), infra, cfg, args[0], yes)
			if err != nil {
				return err
			}
			if a.json {
				err = writeJSON(cmd.OutOrStdout(), out)
			} else {
				err = writef(cmd.OutOrStdout(), "%s\n", erasedText(out))
			}
			if err == nil && !yes {
				err = fault.New(fault.Invalid, "cli.erase", "nothing was changed: erasing is final").WithFix("add --yes")
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func erasedText(e stack.Erased) string {
	if !e.Done {
		return fmt.Sprintf("%d events of tenant %q would become unreadable", e.Events, e.Tenant)
	}
	var rows int64
	for _, n := range e.Rows {
		rows += n
	}
	return fmt.Sprintf("%d events of tenant %q are unreadable now; %d rows of the services were deleted", e.Events, e.Tenant, rows)
}

func tenantRekeyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rekey NEW-KEY-FILE",
		Short: "Wrap the tenants' data keys with a new master key",
		Long: `Wrap the data keys of all tenants with the master key in NEW-KEY-FILE instead of the one that
AGENTOS_MASTER_KEY_FILE names, in one transaction: after it the new one is needed and the old
one opens nothing. No event is touched. No service may run. Make the new key with
"agentos keys master FILE", and set the variable to it afterwards.`,
		Args: cobra.ExactArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			if masterKeyFile() == "" {
				return fault.New(fault.Invalid, "cli.rekey", seal.Variable+" is not set").WithFix("set it to the file with the key in use now")
			}
			infra, _, err := offline()
			if err != nil {
				return err
			}
			n, err := stack.Rekey(cmd.Context(), infra, masterKeyFile(), args[0])
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(cmd.OutOrStdout(), map[string]int64{"keys": n})
			}
			return writef(cmd.OutOrStdout(), "%d data keys are wrapped by the new master key; set %s to %s\n", n, seal.Variable, args[0])
		}),
	}
}

func keysMasterCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "master FILE",
		Short: "Make a master key, under which the bodies of events are sealed",
		Long: `Write a new random master key to FILE, with mode 0600. Set AGENTOS_MASTER_KEY_FILE to it before
the first start, for all services alike; see "agentos tenant". Keep a copy of it apart from the
database: without it nothing that was sealed can be read. "agentos up" makes none by itself: a
key that nobody knows of is one that nobody keeps a copy of.`,
		Args: cobra.ExactArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			if err := seal.MakeMasterFile(args[0]); err != nil {
				return err
			}
			if a.json {
				return writeJSON(cmd.OutOrStdout(), map[string]string{"file": args[0]})
			}
			return writef(cmd.OutOrStdout(), "%s\n", args[0])
		}),
	}
}
