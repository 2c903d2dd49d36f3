package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/cmd/agentos/internal/doctor"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
)

func doctorCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps the kernel from running, and how to mend it",
		Long: `Check data folder, disk, fsync, port, Postgres, pgvector, broker, clock and the running
kernel. Each line is ok, warn or fail, with what to do about it. Not zero when one fails.
With --json one array.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd) }),
	}
}

func (a *app) doctor(cmd *cobra.Command) error {
	home, err := client.Home()
	if err != nil {
		return err
	}
	url, err := databaseURL()
	if err != nil {
		return err
	}
	checks := doctor.Run(cmd.Context(), doctor.Config{
		Home: home, DatabaseURL: url, Getenv: os.Getenv, HTTP: httpserver.DefaultAddr,
		Ready: func(ctx context.Context) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			return c.Ready(ctx)
		},
	})
	failed := 0
	for _, c := range checks {
		if c.Status == doctor.Fail {
			failed++
		}
	}
	if a.json {
		err = writeJSON(cmd.OutOrStdout(), checks)
	} else {
		err = printChecks(cmd, checks)
	}
	if err == nil && failed > 0 {
		err = fault.Newf(fault.Unavailable, "cli.doctor", "%d of %d checks failed", failed, len(checks)).WithFix("mend what is marked fail")
	}
	return err
}

func printChecks(cmd *cobra.Command, checks []doctor.Check) error {
	for _, c := range checks {
		if err := writef(cmd.OutOrStdout(), "%-5s %-14s %s\n", c.Status, c.Name, printable(c.Detail)); err != nil {
			return err
		}
		if c.Fix != "" {
			if err := writef(cmd.OutOrStdout(), "%20s fix: %s\n", "", c.Fix); err != nil {
				return err
			}
		}
	}
	return nil
}
