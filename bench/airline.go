package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/agentos-kernel/agentos/examples/airline"
	"github.com/agentos-kernel/agentos/examples/drive"
	"github.com/agentos-kernel/agentos/libs/cassette"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// runAirline runs the recorded conversations all at once; a transcript that differs fails.
func runAirline(ctx context.Context, e *env) error {
	folder := filepath.Join(e.root, "examples", "airline")
	tape, err := cassette.Open(filepath.Join(folder, airline.CassetteFile))
	if err != nil {
		return err
	}
	conversations := tape.Conversations
	if e.smoke {
		conversations = conversations[:10]
	}
	return e.withKernel(ctx, []string{folder}, func(k *kernel) error {
		got, err := drive.Run(ctx, k.client, tape, conversations, drive.Options{Prefix: "bench"})
		if err != nil {
			return err
		}
		steps := len(got.StepMS)
		e.report.value("airline.seconds", "s", got.Processes, got.Seconds, fmt.Sprintf("%d conversations at once", got.Processes))
		e.report.value("airline.rate", "steps/s", steps, float64(steps)/got.Seconds, "drivers with one stream each included")
		e.report.times("airline.step", got.StepMS, under{}, "kernel time of a step, all at once")
		e.report.judged("airline.identical", "processes", got.Processes, float64(got.Identical), fmt.Sprintf("= %d", got.Processes),
			got.Identical == got.Processes, "transcripts equal to the recording")
		e.report.value("airline.model_calls", "calls", got.Processes, float64(got.ModelCalls), "")
		e.report.value("airline.tool_calls", "calls", got.Processes, float64(got.ToolCalls), "")
		if got.Identical != got.Processes {
			return fault.Newf(fault.Internal, "bench", "%d of %d transcripts differ from the recording; the first: %s",
				got.Processes-got.Identical, got.Processes, got.Differences[0])
		}
		return e.verifyAudit(ctx, k, "airline.audit_entries")
	})
}

// verifyAudit checks the audit log from its first entry on.
func (e *env) verifyAudit(ctx context.Context, k *kernel, name string) error {
	v, err := k.client.VerifyAudit(ctx)
	if err != nil {
		return err
	}
	if !v.OK {
		return fault.Newf(fault.Internal, "bench", "the audit log is broken at entry %d: %s", v.FirstBad.Index, v.FirstBad.Reason)
	}
	e.report.value(name, "entries", int(v.Size), float64(v.Size), "verified")
	return nil
}
