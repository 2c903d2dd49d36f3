package client

import (
	"context"
	"iter"

	"github.com/agentos-kernel/agentos/api"
)

// Models lists the models that can be named.
func (c *Client) Models(ctx context.Context) ([]api.Model, error) {
	res, err := c.rest.ListModels(ctx, &api.ListModelsParams{})
	list, err := answer[api.ModelList](c, "client.models", res, err)
	return list.Models, err
}

// Tools lists the tools that can be named, by set.
func (c *Client) Tools(ctx context.Context) ([]api.ToolSet, error) {
	res, err := c.rest.ListTools(ctx, &api.ListToolsParams{})
	list, err := answer[api.ToolList](c, "client.tools", res, err)
	return list.Sets, err
}

// Trajectory shows what a process did, step by step.
func (c *Client) Trajectory(ctx context.Context, pid string) (api.Trajectory, error) {
	res, err := c.rest.GetTrajectory(ctx, pid)
	return answer[api.Trajectory](c, "client.trajectory", res, err)
}

// AgentStats lists how agents fare over all their runs, by name; an empty name takes all. It ends
// with the first error.
func (c *Client) AgentStats(ctx context.Context, name string) iter.Seq2[api.AgentStats, error] {
	size := pageSize
	params := api.ListAgentStatsParams{Limit: &size}
	if name != "" {
		params.Name = &name
	}
	return pages(func(cursor *string) ([]api.AgentStats, string, error) {
		params.Cursor = cursor
		res, err := c.rest.ListAgentStats(ctx, &params)
		page, err := answer[api.AgentStatsPage](c, "client.agent_stats", res, err)
		return page.Agents, page.NextCursor, err
	})
}

// AuditHead is the newest signed head of the audit log.
func (c *Client) AuditHead(ctx context.Context) (api.AuditHead, error) {
	res, err := c.rest.GetAuditHead(ctx)
	return answer[api.AuditHead](c, "client.audit_head", res, err)
}

// VerifyAudit has the kernel verify its whole audit log. A bad log is no error: read OK.
func (c *Client) VerifyAudit(ctx context.Context) (api.AuditVerification, error) {
	res, err := c.rest.VerifyAudit(ctx)
	return answer[api.AuditVerification](c, "client.audit_verify", res, err)
}

// AuditProof proves that an event is in the audit log.
func (c *Client) AuditProof(ctx context.Context, eventID string) (api.AuditProof, error) {
	res, err := c.rest.GetAuditProof(ctx, eventID)
	return answer[api.AuditProof](c, "client.audit_proof", res, err)
}

// Ready is nil when the kernel can serve requests, and says what is missing otherwise.
func (c *Client) Ready(ctx context.Context) error {
	res, err := c.rest.GetReady(ctx)
	_, err = answer[api.Status](c, "client.ready", res, err)
	return err
}
