package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentos-kernel/agentos/cmd/agentos/internal/stack"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/telemetry"
)

// upFlags are what `agentos up` can be told.
type upFlags struct {
	HTTP            string   // host:port, default httpserver.DefaultAddr
	JSON            bool     // one JSON line when ready, nothing else on standard output
	Slots           int      // processes in a step at once
	WorkspaceRoots  []string // default: workspaces in the data folder
	CassetteFolders []string // folders with recordings
	Partitions      int
	Offline         bool
	LogLevel        string // debug, info, warn (default), error
	GraceTime       time.Duration
	ArchiveAfter    string // age of ended processes to be archived; empty: never
}

// runUp runs the whole kernel in this process until ctx ends. Standard output gets the ready line,
// standard error what is done on the way.
func runUp(ctx context.Context, out, errOut io.Writer, f upFlags) error {
	home, err := client.Home()
	if err != nil {
		return err
	}
	log, progress, err := serverLog(ctx, errOut, telemetry.LogText, f.LogLevel)
	if err != nil {
		return err
	}
	traces, err := telemetry.Open(ctx, "agentos", version())
	if err != nil {
		return err
	}
	defer func() { _ = traces.Stop(context.WithoutCancel(ctx)) }() // spans that cannot be sent are lost, by design
	url, kafka, err := servers()
	if err != nil {
		return err
	}
	var archiveAfter time.Duration
	if f.ArchiveAfter != "" {
		if archiveAfter, err = parseAge(f.ArchiveAfter); err != nil {
			return err
		}
	}
	infra, err := stack.StartInfra(ctx, stack.InfraConfig{
		Home: home, DatabaseURL: url, Kafka: kafka, Partitions: f.Partitions,
		Offline: f.Offline, Logger: log, Progress: progress,
	})
	if err != nil {
		return err
	}
	// Commands that take the database find it here.
	if err := infra.Leave(home); err != nil {
		return errors.Join(err, infra.Stop(context.WithoutCancel(ctx)))
	}
	g, gctx := errgroup.WithContext(ctx)
	gctx, end := context.WithCancel(gctx)
	g.Go(func() error { return infra.Guard(gctx) })
	if f.ArchiveAfter != "" {
		g.Go(func() error { return archiveLoop(gctx, infra, archiveAfter, log) })
	}
	g.Go(func() error {
		defer end()
		return serveNode(gctx, infra, nodeConfig(home, f, log, traces), func(url string) error {
			up := client.Up{URL: url, APIKeyFile: stack.KeyFile(home), OSPID: os.Getpid()}
			if err := client.WriteUp(home, up); err != nil {
				return err
			}
			return announce(out, up, f.JSON)
		})
	})
	err = g.Wait()
	if rerr := client.RemoveUp(home, os.Getpid()); err == nil {
		err = rerr
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if serr := infra.Stop(stopCtx); err == nil {
		err = serr
	}
	return err
}

func nodeConfig(home string, f upFlags, log *slog.Logger, traces telemetry.Traces) stack.Config {
	roots := f.WorkspaceRoots
	if len(roots) == 0 {
		roots = []string{filepath.Join(home, "workspaces")}
	}
	for i, r := range roots {
		if abs, err := filepath.Abs(r); err == nil {
			roots[i] = abs
		}
	}
	return stack.Config{
		Home: home, HTTP: f.HTTP, Slots: f.Slots, WorkspaceRoots: roots, CassetteFolders: f.CassetteFolders,
		GraceTime: f.GraceTime, MasterKeyFile: masterKeyFile(), Logger: log, Tracer: traces.Tracer,
	}
}

func serveNode(ctx context.Context, infra *stack.Infra, cfg stack.Config, ready func(url string) error, names ...string) error {
	node, err := stack.NewNode(ctx, infra, cfg, names...)
	if err != nil {
		return err
	}
	return node.Run(ctx, func() error { return ready(node.URL()) })
}

func announce(out io.Writer, up client.Up, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(up)
	}
	_, err := fmt.Fprintf(out, "agentos is up at %s\nAPI key: %s\nstop with Ctrl-C; look with `agentos ps` and `agentos logs -f PID`\n", up.URL, up.APIKeyFile)
	return err
}
