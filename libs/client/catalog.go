package client

import (
	"context"
	"iter"
	"net/http"

	"github.com/agentos-kernel/agentos/api"
)

// Models lists the models that can be named.
func (c *Client) Models(ctx context.Context) ([]api.Model, error) {
	list, err := call[api.ModelList](c, "client.models", func() (*http.Response, error) {
		return c.rest.ListModels(ctx, &api.ListModelsParams{})
	})
	return list.Models, err
}

// Tools lists the tools that can be named, by set.
func (c *Client) Tools(ctx context.Context) ([]api.ToolSet, error) {
	list, err := call[api.ToolList](c, "client.tools", func() (*http.Response, error) {
		return c.rest.ListTools(ctx, &api.ListToolsParams{})
	})
	return list.Sets, err
}

// Trajectory shows what a process did, step by step.
func (c *Client) Trajectory(ctx context.Context, pid string) (api.Trajectory, error) {
	return call[api.Trajectory](c, "client.trajectory", func() (*http.Response, error) {
		return c.rest.GetTrajectory(ctx, pid)
	})
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
		page, err := call[api.AgentStatsPage](c, "client.agent_stats", func() (*http.Response, error) {
			return c.rest.ListAgentStats(ctx, &params)
		})
		return page.Agents, page.NextCursor, err
	})
}

// AuditHead is the newest signed head of the audit log.
func (c *Client) AuditHead(ctx context.Context) (api.AuditHead, error) {
	return call[api.AuditHead](c, "client.audit_head", func() (*http.Response, error) {
		return c.rest.GetAuditHead(ctx)
	})
}

// VerifyAudit has the kernel verify its whole audit log. A bad log is no error: read OK.
func (c *Client) VerifyAudit(ctx context.Context) (api.AuditVerification, error) {
	return call[api.AuditVerification](c, "client.audit_verify", func() (*http.Response, error) {
		return c.rest.VerifyAudit(ctx)
	})
}

// AuditProof proves that an event is in the audit log.
func (c *Client) AuditProof(ctx context.Context, eventID string) (api.AuditProof, error) {
	return call[api.AuditProof](c, "client.audit_proof", func() (*http.Response, error) {
		return c.rest.GetAuditProof(ctx, eventID)
	})
}

// Ready is nil when the kernel can serve requests, and says what is missing otherwise.
func (c *Client) Ready(ctx context.Context) error {
	_, err := call[api.Status](c, "client.ready", func() (*http.Response, error) {
		return c.rest.GetReady(ctx)
	})
	return err
}
