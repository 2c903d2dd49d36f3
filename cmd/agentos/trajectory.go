package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/api"
)

func trajectoryCommand(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "trajectory [PID]",
		Short: "Show what a process did, or how agents fare over all runs",
		Long: `Show what a process did, step by step. Without a PID: for each agent name its runs,
success rate, tokens and cost.`,
		Args: cobra.MaximumNArgs(1),
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.agentStats(cmd, name)
			}
			return a.trajectory(cmd, args[0])
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "only this agent name")
	return cmd
}

func (a *app) trajectory(cmd *cobra.Command, pid string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	t, err := c.Trajectory(cmd.Context(), pid)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if a.json {
		return writeJSON(out, t)
	}
	reason := ""
	if t.Reason != "" {
		reason = ": " + clip(t.Reason, 100)
	}
	err = writef(out, "%s %s on %s, %s%s\n%d steps, %s tokens in, %s out, %s\n\n", t.PID, clip(t.Name, 100), t.Model, t.Outcome, reason,
		t.Usage.Steps, tokenCount(t.Usage.InputTokens, t.Usage.Counted), tokenCount(t.Usage.OutputTokens, t.Usage.Counted), usd(t.CostUSD))
	if err != nil {
		return err
	}
	rows := [][]string{{"STEP", "CALL", "OUTCOME", "IN", "OUT", "COST", "TIME", "NOTE"}}
	for _, step := range t.Steps {
		rows = append(rows, stepRows(step)...)
	}
	return writeTable(out, rows)
}

func stepRows(step api.TrajectoryStep) [][]string {
	number := strconv.Itoa(step.Step)
	var rows [][]string
	if m := step.ModelCall; m != nil {
		rows = append(rows, []string{
			number, m.Model, m.Outcome, tokenCount(m.InputTokens, m.Counted), tokenCount(m.OutputTokens, m.Counted),
			usd(m.CostUSD), milliseconds(m.DurationMs), clip(firstText(m.Reason, m.FinishReason), 60),
		})
	}
	for _, call := range step.ToolCalls {
		rows = append(rows, []string{
			number, call.Name, call.Outcome, "-", "-", "-", span(time.Duration(call.DurationUs) * time.Microsecond),
			clip(firstText(call.Reason, call.Decision), 60),
		})
	}
	return rows
}

func (a *app) agentStats(cmd *cobra.Command, name string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	all := []api.AgentStats{}
	for stats, err := range c.AgentStats(cmd.Context(), name) {
		if err != nil {
			return err
		}
		all = append(all, stats)
	}
	if a.json {
		return writeJSON(cmd.OutOrStdout(), all)
	}
	rows := [][]string{{"NAME", "RUNS", "OPEN", "COMPLETED", "FAILED", "TERMINATED", "SUCCESS", "STEPS", "TOKENS", "COST"}}
	for _, s := range all {
		success := "-"
		if s.SuccessRate != nil {
			success = fmt.Sprintf("%.1f%%", *s.SuccessRate*100)
		}
		number := func(n int64) string { return strconv.FormatInt(n, 10) }
		rows = append(rows, []string{
			clip(s.Name, 24), number(s.Runs), number(s.Open), number(s.Completed), number(s.Failed), number(s.Terminated),
			success, number(s.Steps), number(s.InputTokens + s.OutputTokens), usd(s.CostUSD),
		})
	}
	return writeTable(cmd.OutOrStdout(), rows)
}

// firstText is the first of the texts that is not empty.
func firstText(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
