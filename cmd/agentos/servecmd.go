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
services find Postgres and Kafka by DATABASE_URL and KAFKA_BROKERS, else those of infra. They log
JSON to standard error, each line of a request or an event with its trace_id and span_id;
AGENTOS_LOG=text makes it lines for people.

How to speak to Kafka: KAFKA_TLS (true or false), KAFKA_TLS_CA_FILE, KAFKA_TLS_CERT_FILE,
KAFKA_TLS_KEY_FILE; KAFKA_SASL_MECHANISM (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512),
KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD or KAFKA_SASL_PASSWORD_FILE; KAFKA_SESSION_TIMEOUT
(6s), KAFKA_REBALANCE_TIMEOUT (3s); KAFKA_REPLICATION_FACTOR and KAFKA_PARTITIONS of the
topics, which are made once.`,
		ValidArgs: servable(),
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			f.JSON = a.json
			return runServe(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], f)
		}),
	}
	cmd.Flags().StringVar(&f.HTTP, "http", "", "address to serve on (default: a port of the service's own on loopback)")
	cmd.Flags().StringToStringVar(&f.Upstreams, "upstream", nil, "of the edge: SERVICE=URL; may be repeated")
	nodeFlags(cmd, &f.upFlags, "info")
	return cmd
}
