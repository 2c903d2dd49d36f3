package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/cmd/agentos/internal/stack"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
)

func rebuildCommand(a *app) *cobra.Command {
	var verify bool
	cmd := &cobra.Command{
		Use:   "rebuild SERVICE",
		Short: "Make a service's read models again from the event store",
		Long: `Drop the rows of a service's read models and the snapshots of its streams, and handle the
events again that the service had handled, in one transaction: either all is as new, or
nothing has changed. No model or tool is called and no event is written. Snapshots are a
cache: they come back with use. With --verify the result is compared with what is there,
row by row, and each snapshot with a fold from its stream's start, and nothing is changed.

The service must not run: stop it, or stop "agentos up" and run "agentos serve infra".`,
		ValidArgs: stack.ServiceNames(),
		Args:      cobra.ExactArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			res, err := runRebuild(cmd.Context(), args[0], verify)
			if err != nil {
				return err
			}
			d := rebuildDocument{
				Service: args[0], Tables: res.Tables, Events: res.Events, Erased: res.Erased, Rows: res.Rows,
				Snapshots: res.Snapshots, Verified: verify, Differs: res.Differs,
			}
			if a.json {
				err = writeJSON(cmd.OutOrStdout(), d)
			} else {
				err = writef(cmd.OutOrStdout(), "%s\n", d.text())
			}
			if err == nil && res.Differs != "" {
				err = fault.Newf(fault.Conflict, "cli.rebuild", "the read models of %s are not what the events make", args[0]).
					WithFix("`agentos rebuild " + args[0] + "` makes them again; if they still differ it is a defect: report it with the row")
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "compare only; change nothing")
	return cmd
}

func runRebuild(ctx context.Context, name string, verify bool) (res service.RebuildResult, err error) {
	infra, cfg, err := offline()
	if err != nil {
		return res, err
	}
	return stack.Rebuild(ctx, infra, cfg, name, verify)
}

// offline is what a verb needs that does a service's work while it does not run.
func offline() (*stack.Infra, stack.Config, error) {
	home, err := client.Home()
	if err != nil {
		return nil, stack.Config{}, err
	}
	infra, err := findInfra(home, 0)
	if err != nil {
		return nil, stack.Config{}, err
	}
	log, err := verbLog()
	// No workspace is touched, but the services want to know where they may be.
	roots := []string{filepath.Join(home, "workspaces")}
	return infra, stack.Config{Home: home, WorkspaceRoots: roots, MasterKeyFile: masterKeyFile(), Logger: log}, err
}

type rebuildDocument struct {
	Service   string   `json:"service"`
	Tables    []string `json:"tables"`
	Events    int64    `json:"events"` // replayed
	Erased    int64    `json:"erased"` // of these, that nobody can read any more
	Rows      int64    `json:"rows"`
	Snapshots int64    `json:"snapshots"` // compared, or dropped
	Verified  bool     `json:"verified"`  // compared only
	Differs   string   `json:"differs,omitempty"`
}

func (d rebuildDocument) text() string {
	tables := strings.Join(d.Tables, ", ")
	what := "no read model: it folds its own streams when it needs them"
	switch {
	case d.Differs != "":
		return "the first that differs: " + printable(d.Differs)
	case len(d.Tables) > 0 && d.Verified:
		what = fmt.Sprintf("%d events make the same %d rows of %s, byte for byte", d.Events, d.Rows, tables)
	case len(d.Tables) > 0:
		what = fmt.Sprintf("%d rows of %s made again from %d events", d.Rows, tables, d.Events)
	}
	done := "dropped"
	if d.Verified {
		done = "equal to a fold from the start, byte for byte"
	}
	if d.Erased > 0 {
		what += fmt.Sprintf("; %d events were skipped, their tenant's data was erased", d.Erased)
	}
	return fmt.Sprintf("%s: %s; %d snapshots %s", d.Service, what, d.Snapshots, done)
}
