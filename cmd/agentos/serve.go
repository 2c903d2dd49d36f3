package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/agentos-kernel/agentos/cmd/agentos/internal/stack"
	"github.com/agentos-kernel/agentos/libs/client"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/httpserver"
	"github.com/agentos-kernel/agentos/libs/telemetry"
)

// serveFlags are what `agentos serve` can be told besides the service.
type serveFlags struct {
	upFlags
	Upstreams map[string]string // of the edge: service → URL
}

// runServe runs one service, the edge, or the infrastructure alone until ctx ends.
func runServe(ctx context.Context, out, errOut io.Writer, name string, f serveFlags) error {
	home, err := client.Home()
	if err != nil {
		return err
	}
	log, progress, err := serverLog(ctx, errOut, telemetry.LogJSON, f.LogLevel)
	if err != nil {
		return err
	}
	switch name {
	case "infra":
		return runInfra(ctx, out, home, log, progress, f)
	case "edge":
		if f.HTTP == "" {
			f.HTTP = httpserver.DefaultAddr
		}
		return stack.RunEdge(ctx, f.HTTP, f.GraceTime, f.Upstreams, func(url string) error { return announceService(out, name, url, f.JSON) })
	}
	infra, err := findInfra(home, f.Partitions)
	if err != nil {
		return err
	}
	traces, err := telemetry.Open(ctx, "agentos-"+name, version())
	if err != nil {
		return err
	}
	defer func() { _ = traces.Stop(context.WithoutCancel(ctx)) }() // spans that cannot be sent are lost, by design
	if f.HTTP == "" {
		f.HTTP = "127.0.0.1:" + stack.ServicePort(name)
	}
	return serveNode(ctx, infra, nodeConfig(home, f.upFlags, log, traces), func(url string) error {
		return announceService(out, name, url, f.JSON)
	}, name)
}

// runInfra runs the embedded database and broker for services served beside it.
func runInfra(ctx context.Context, out io.Writer, home string, log *slog.Logger, progress func(string), f serveFlags) error {
	url, kafka, err := servers()
	if err != nil {
		return err
	}
	infra, err := stack.StartInfra(ctx, stack.InfraConfig{
		Home: home, DatabaseURL: url, Kafka: kafka, Partitions: f.Partitions,
		Offline: f.Offline, Logger: log, Progress: progress,
	})
	if err != nil {
		return err
	}
	err = infra.Leave(home)
	if err == nil {
		err = announceService(out, "infra", strings.Join(infra.Brokers, ","), f.JSON)
	}
	if err == nil {
		err = infra.Guard(ctx)
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if serr := infra.Stop(stopCtx); err == nil {
		err = serr
	}
	return err
}

// findInfra is the database and broker of the environment, else those `serve infra` left.
func findInfra(home string, partitions int) (*stack.Infra, error) {
	url, kafka, err := servers()
	if err != nil {
		return nil, err
	}
	if url == "" && len(kafka.Brokers) == 0 {
		infra, err := stack.FindInfra(home)
		if err == nil {
			infra.Kafka = kafka
		}
		return infra, err
	}
	if url == "" || len(kafka.Brokers) == 0 {
		return nil, fault.New(fault.Invalid, "serve", "DATABASE_URL and KAFKA_BROKERS must be given together").
			WithFix("set both, or neither beside `agentos serve infra`")
	}
	return stack.External(home, url, kafka, partitions)
}

func announceService(out io.Writer, name, url string, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(map[string]any{"service": name, "url": url, "os_pid": os.Getpid()})
	}
	_, err := fmt.Fprintf(out, "%s is ready at %s\n", name, url)
	return err
}
