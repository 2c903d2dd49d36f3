package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// servable lists what `agentos serve` can serve.
func servable() []string {
	return []string{"infra", "scheduler", "context", "llm-gateway", "tools", "audit", "learning", "edge"}
}

func serveCommand(a *app) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve SERVICE",
		Short: "Run one service, the edge, or the database and broker alone",
		Long: `Run one part of the kernel, for the others to run beside it:
` + strings.Join(servable(), ", ") + `.

"infra" is the private Postgres and broker; "edge" gives the services one address. The
services find Postgres and Kafka by DATABASE_URL and KAFKA_BROKERS, else those of infra.`,
		ValidArgs: servable(),
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			f.JSON = a.json
			return runServe(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], f)
		}),
	}
	cmd.Flags().StringVar(&f.HTTP, "http", "", "address to serve on (default: a port of the service's own on loopback)")
	cmd.Flags().StringToStringVar(&f.Upstreams, "upstream", nil, "of the edge: SERVICE=URL; may be repeated")
	nodeFlags(cmd, &f.upFlags)
	return cmd
}
