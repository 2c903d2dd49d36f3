package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentos-kernel/agentos/events"
	"github.com/agentos-kernel/agentos/events/catalog"
	"github.com/agentos-kernel/agentos/libs/eventstore"
	"github.com/agentos-kernel/agentos/libs/fault"
	"github.com/agentos-kernel/agentos/libs/service"
	contextsvc "github.com/agentos-kernel/agentos/services/context"
	llmgateway "github.com/agentos-kernel/agentos/services/llm-gateway"
	"github.com/agentos-kernel/agentos/services/scheduler"
	"github.com/agentos-kernel/agentos/services/tools"
)

// runSnapshot runs one agent of many steps on the kernel and then loads its streams as the services do
// when they are not in memory: from the snapshot the kernel wrote, and from the start.
func runSnapshot(ctx context.Context, e *env) error {
	steps := pick(e, 200, 60)
	folder, script, err := e.script(steps)
	if err != nil {
		return err
	}
	return e.withKernel(ctx, []string{folder}, func(k *kernel) error {
		a, err := k.client.Spawn(ctx, counter(script, steps))
		if err != nil {
			return err
		}
		if a, err = awaitEnd(ctx, k.client, a.PID); err != nil {
			return err
		}
		if err := checkCounter(a, steps); err != nil {
			return err
		}
		reg, err := catalog.New()
		if err != nil {
			return err
		}
		l := &loader{env: e, home: k.home, decode: reg.Decode, pid: a.PID, rounds: pick(e, 300, 30)}
		if err := measureLoads(ctx, l, "scheduler", scheduler.Fold()); err != nil {
			return err
		}
		if err := measureLoads(ctx, l, "context", contextsvc.Fold()); err != nil {
			return err
		}
		if err := measureLoads(ctx, l, "llm", llmgateway.Fold()); err != nil {
			return err
		}
		return measureLoads(ctx, l, "tools", tools.Fold())
	})
}

// loader is what the loads of all services share.
type loader struct {
	env    *env
	home   string
	decode service.Decoder
	pid    string
	rounds int
}

// connect logs in as a service, to the database of the kernel that runs on the data folder.
func (l *loader) connect(ctx context.Context, schema string) (*pgx.Conn, error) {
	raw, err := os.ReadFile(filepath.Join(l.home, "infra.json"))
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "bench", "cannot find the kernel's database", err)
	}
	var infra struct {
		DatabaseURL string            `json:"database_url"`
		Roles       map[string]string `json:"roles"`
	}
	if err := json.Unmarshal(raw, &infra); err != nil {
		return nil, fault.Wrap(fault.Internal, "bench", "cannot find the kernel's database", err)
	}
	url, err := eventstore.ServiceURL(infra.DatabaseURL, schema, infra.Roles[schema])
	if err != nil {
		return nil, err
	}
	return pgx.Connect(ctx, url)
}

// measureLoads loads the agent's stream both ways, in turns, so that what else the machine does hits both.
func measureLoads[S any](ctx context.Context, l *loader, schema string, fold service.Fold[S]) error {
	conn, err := l.connect(ctx, schema)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing is open on it
	var snapshot, start []float64
	var with, from service.Loaded[S]
	for range l.rounds {
		began := time.Now()
		if with, err = fold.Load(ctx, conn, l.decode, events.DefaultTenant, l.pid); err != nil {
			return err
		}
		snapshot = append(snapshot, millis(time.Since(began)))
		began = time.Now()
		if from, err = fold.FromStart(ctx, conn, l.decode, events.DefaultTenant, l.pid); err != nil {
			return err
		}
		start = append(start, millis(time.Since(began)))
	}
	a, errA := fold.Bytes(with.State)
	b, errB := fold.Bytes(from.State)
	if with.Snapshot == 0 || errA != nil || errB != nil || !bytes.Equal(a, b) {
		return fault.Newf(fault.Internal, "bench", "%s: the snapshot of version %d and its tail do not make the state of a fold from the start", schema, with.Snapshot)
	}
	l.env.report.times("snapshot."+schema, snapshot, under{}, fmt.Sprintf("from a snapshot of %d B and %d events after it", with.Size, with.Version-with.Snapshot))
	l.env.report.times("snapshot."+schema+".start", start, under{}, fmt.Sprintf("the same stream from its first of %d events on", from.Version))
	return nil
}
