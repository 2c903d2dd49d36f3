package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/libs/httpserver"
)

func upCommand(a *app) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the whole kernel on this machine",
		Long: `Run the whole kernel in one process: six services, and unless DATABASE_URL and
KAFKA_BROKERS name others a private Postgres and a private broker. It serves until it is
interrupted; what was running goes on at the next start. It logs to standard error in lines
for people; AGENTOS_LOG=json makes them JSON.

With --json one line when it is ready: url, api_key_file, os_pid.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			f.JSON = a.json
			return runUp(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), f)
		}),
	}
	cmd.Flags().StringVar(&f.HTTP, "http", httpserver.DefaultAddr, "address to serve on; port 0 takes a free one")
	cmd.Flags().StringVar(&f.ArchiveAfter, "archive-after", "", `archive processes that ended so long ago, such as 30d; see "agentos archive" (default: never)`)
	nodeFlags(cmd, &f, "warn")
	return cmd
}

// nodeFlags are the flags of every verb that runs services. An empty or zero default is chosen by
// the service.
func nodeFlags(cmd *cobra.Command, f *upFlags, level string) {
	flags := cmd.Flags()
	flags.IntVar(&f.Slots, "slots", 0, "processes in a step at once; 0 is the scheduler's default")
	flags.StringArrayVar(&f.WorkspaceRoots, "workspace-root", nil, "folder that workspaces may lie under; may be repeated (default: workspaces in the data folder)")
	flags.StringArrayVar(&f.CassetteFolders, "cassettes", nil, "folder with recordings for replay/… models; may be repeated")
	flags.IntVar(&f.Partitions, "partitions", 0, "partitions of each topic, fixed at the first start; 0 is the default")
	flags.BoolVar(&f.Offline, "offline", false, "download nothing: what is not there is an error")
	flags.StringVar(&f.LogLevel, "log-level", level, "debug, info, warn or error")
	flags.DurationVar(&f.GraceTime, "grace", 10*time.Second, "how long a stop waits for what runs")
}
