package main

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/cmd/agentos/internal/stack"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func migrateCommand(a *app) *cobra.Command {
	var partitions int
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Make or upgrade schemas, roles and topics on your Postgres and Kafka",
		Long: `Make the event store, each service's role and schema, and the topics, on the Postgres of
DATABASE_URL and the Kafka of KAFKA_BROKERS. What is there is kept and upgraded; it may be
run again, and by several programs at once. The passwords of the roles are kept in the data
folder: services that run elsewhere need the same AGENTOS_HOME/roles.json.

"agentos up" and "agentos serve infra" do this by themselves.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			d, err := migrate(cmd.Context(), partitions)
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(cmd.OutOrStdout(), d)
			}
			return writef(cmd.OutOrStdout(), "event store with %d partitions\nschemas and roles: %s\ntopics: %s\n",
				d.Partitions, strings.Join(d.Services, ", "), strings.Join(d.Topics, ", "))
		}),
	}
	cmd.Flags().IntVar(&partitions, "partitions", 0, "partitions of each topic; cannot be changed later (default 12)")
	return cmd
}

// migrated is what is there after a migration.
type migrated struct {
	Partitions int      `json:"partitions"`
	Services   []string `json:"services"`
	Topics     []string `json:"topics"`
}

func migrate(ctx context.Context, partitions int) (migrated, error) {
	home, err := client.Home()
	if err != nil {
		return migrated{}, err
	}
	url, kafka, err := servers()
	if err != nil {
		return migrated{}, err
	}
	if url == "" || len(kafka.Brokers) == 0 {
		return migrated{}, fault.New(fault.Invalid, "cli.migrate", "DATABASE_URL and KAFKA_BROKERS say what to migrate; one is missing").
			WithFix("set both; without servers of your own `agentos up` needs no migration")
	}
	if err := os.MkdirAll(home, 0o711); err != nil { //nolint:gosec // as `agentos up` makes it
		return migrated{}, fault.Wrap(fault.Invalid, "cli.migrate", "cannot make the data folder", err).
			WithFix("set AGENTOS_HOME to a folder you can write")
	}
	infra, err := stack.External(home, url, kafka, partitions)
	if err != nil {
		return migrated{}, err
	}
	log, err := verbLog()
	if err != nil {
		return migrated{}, err
	}
	if err := infra.Prepare(ctx, log); err != nil {
		return migrated{}, err
	}
	return migrated{Partitions: infra.Partitions, Services: stack.ServiceNames(), Topics: infra.Topics()}, nil
}
