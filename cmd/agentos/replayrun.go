package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/services/learning"
)

// runReplay feeds events of the store to learning's fold and prints what it finds per agent name.
func runReplay(ctx context.Context, out io.Writer, f replayFlags) error {
	home, err := client.Home()
	if err != nil {
		return err
	}
	infra, err := findInfra(home, 0)
	if err != nil {
		return err
	}
	url, err := eventstore.ServiceURL(infra.DatabaseURL, learning.Name, infra.Roles[learning.Name])
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fault.Wrap(fault.Unavailable, "cli.replay", "the database does not answer", err).
			WithFix("start the kernel with `agentos up`, or the database with `agentos serve infra`")
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // only read from
	reg, err := catalog.New()
	if err != nil {
		return err
	}
	res, err := learning.Replay(ctx, conn, reg, learning.ReplayOptions{From: f.From, To: f.To})
	if err != nil {
		return err
	}
	if f.JSON {
		return json.NewEncoder(out).Encode(res)
	}
	_, _ = fmt.Fprintf(out, "%d events from position %d to %d\n", res.Events, res.From, res.To)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "NAME\tRUNS\tCOMPLETED\tFAILED\tTERMINATED\tOPEN\tTOKENS IN\tTOKENS OUT\tCOST")
	for _, a := range res.Agents {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t$%.6f\n", a.Name, a.Runs, a.Completed, a.Failed, a.Terminated,
			a.Open, a.InputTokens, a.OutputTokens, float64(a.CostMicroUSD)/1e6)
	}
	return w.Flush()
}
