package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
)

func psCommand(a *app) *cobra.Command {
	var (
		states []string
		name   string
	)
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List processes",
		Long: `List processes, newest first. Tokens marked ~ were counted by the kernel, not reported
by a provider. With --json one array of process documents.`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			filter := client.AgentFilter{Name: name}
			for _, s := range states {
				if !api.AgentState(s).Valid() {
					return fault.Newf(fault.Invalid, "cli.ps", "%q is no state", s).
						WithFix("use created, ready, running, waiting, suspended, completed, failed or terminated")
				}
				filter.States = append(filter.States, api.AgentState(s))
			}
			return a.ps(cmd, filter)
		}),
	}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only these states, a,b,…")
	cmd.Flags().StringVar(&name, "name", "", "only this agent name")
	return cmd
}

func (a *app) ps(cmd *cobra.Command, filter client.AgentFilter) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	agents := []api.Agent{}
	for agent, err := range c.Agents(cmd.Context(), filter) {
		if err != nil {
			return err
		}
		agents = append(agents, agent)
	}
	if a.json {
		return writeJSON(cmd.OutOrStdout(), agents)
	}
	rows := [][]string{{"PID", "NAME", "STATE", "WAIT", "PRI", "STEPS", "TOKENS", "COST", "AGE"}}
	for _, agent := range agents {
		wait := "-"
		if agent.Wait != nil {
			wait = agent.Wait.Reason
		}
		rows = append(rows, []string{
			agent.PID, clip(agent.Name, 24), string(agent.State), wait, strconv.Itoa(agent.Priority),
			strconv.Itoa(agent.Usage.Steps), tokenCount(agent.Usage.InputTokens+agent.Usage.OutputTokens, agent.Usage.Counted),
			usd(agent.CostUSD), span(a.now().Sub(agent.CreatedAt)),
		})
	}
	return writeTable(cmd.OutOrStdout(), rows)
}
