package main

import (
	"github.com/spf13/cobra"

	"github.com/agentos-kernel/agentos/libs/fault"
)

func auditCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Verify the audit log, show its head, prove an entry",
		Long:  `The audit log is a Merkle tree over every event of every service.`,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "verify",
			Short: "Verify the whole log; not zero when an entry is bad",
			Args:  cobra.NoArgs,
			RunE:  verb(func(cmd *cobra.Command, _ []string) error { return a.auditVerify(cmd) }),
		},
		&cobra.Command{
			Use:   "head",
			Short: "Show the newest signed head",
			Args:  cobra.NoArgs,
			RunE:  verb(func(cmd *cobra.Command, _ []string) error { return a.auditHead(cmd) }),
		},
		&cobra.Command{
			Use:   "proof EVENT",
			Short: "Prove that an event is in the log",
			Args:  cobra.ExactArgs(1),
			RunE:  verb(func(cmd *cobra.Command, args []string) error { return a.auditProof(cmd, args[0]) }),
		},
	)
	return cmd
}

func (a *app) auditVerify(cmd *cobra.Command) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	v, err := c.VerifyAudit(cmd.Context())
	if err != nil {
		return err
	}
	switch {
	case a.json:
		err = writeJSON(cmd.OutOrStdout(), v)
	case v.OK:
		err = writef(cmd.OutOrStdout(), "audit log verified: %d entries, root %s\n", v.Size, v.Root)
	}
	if err != nil || v.OK {
		return err
	}
	const fix = "compare with a backup; entries before it are good"
	if v.FirstBad == nil {
		return fault.New(fault.Internal, "cli.audit", "the audit log is not good").WithFix(fix)
	}
	return fault.Newf(fault.Internal, "cli.audit", "the audit log is bad at entry %d: %s", v.FirstBad.Index, v.FirstBad.Reason).WithFix(fix)
}

func (a *app) auditHead(cmd *cobra.Command) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	head, err := c.AuditHead(cmd.Context())
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(cmd.OutOrStdout(), head)
	}
	return writef(cmd.OutOrStdout(), "size %d\nroot %s\nkey  %s\n\n%s", head.Size, head.Root, head.VerifierKey, head.Note)
}

func (a *app) auditProof(cmd *cobra.Command, event string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.AuditProof(cmd.Context(), event)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if a.json {
		return writeJSON(out, p)
	}
	if err := writef(out, "event %s\nentry %d of %d\nleaf  %s\n", p.EventID, p.Index, p.Size, p.LeafHash); err != nil {
		return err
	}
	for _, hash := range p.Proof {
		if err := writef(out, "      %s\n", hash); err != nil {
			return err
		}
	}
	return writef(out, "root  %s\n\n%s", p.Root, p.Note)
}
