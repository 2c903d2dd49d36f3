package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/agentos-kernel/agentos/cmd/agentos/internal/stack"
	"github.com/agentos-kernel/agentos/services/learning"
)

// runReplay feeds events of the store to learning's fold and prints what it finds per agent name.
func runReplay(ctx context.Context, out io.Writer, f replayFlags) error {
	var res learning.ReplayResult
	err := operate(ctx, learning.Name, func(op *stack.Operator) (err error) {
		res, err = learning.Replay(ctx, op.Conn, op.Registry, learning.ReplayOptions{From: f.From, To: f.To})
		return err
	})
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
