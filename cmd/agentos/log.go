package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/agentos-kernel/agentos/libs/telemetry"
)

// serverLog logs to w, in the form AGENTOS_LOG names if it is set, and tells w what is done at a start:
// in plain lines beside a log for people, as lines of the log for programs.
func serverLog(ctx context.Context, w io.Writer, form, level string) (log *slog.Logger, progress func(string), err error) {
	form = cmp.Or(os.Getenv(telemetry.LogVariable), form)
	log, err = telemetry.NewLogger(w, form, level)
	if err != nil {
		return nil, nil, err
	}
	if form == telemetry.LogJSON {
		return log, func(line string) { log.InfoContext(ctx, "starting", "doing", line) }, nil
	}
	return log, func(line string) { _, _ = fmt.Fprintln(w, line) }, nil
}

// verbLog takes the warnings of a verb that works on the database or the broker itself.
func verbLog() (*slog.Logger, error) {
	return telemetry.NewLogger(os.Stderr, cmp.Or(os.Getenv(telemetry.LogVariable), telemetry.LogText), "warn")
}
