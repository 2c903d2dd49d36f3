// Command check holds what watches the kernel against a running one: it starts the binary, lets an agent work,
// scrapes it twice, and evaluates every expression of the dashboard and of the alerts on what it got, with
// Prometheus' own engine. It also loads the configurations with the code of Prometheus and of the OpenTelemetry
// collector. Images are not needed. A module of its own keeps all this out of the kernel's.
//
//	go run . ../../../bin/agentos
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// above is the folder with the files, seen from this one.
const above = ".."

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // the time limit ends with the process
	}
}

func run(ctx context.Context) error {
	if len(os.Args) != 2 {
		return errors.New("usage: check AGENTOS")
	}
	if err := errors.Join(checkCollector(ctx, above+"/otel-collector.yaml"), checkPrometheus(above+"/prometheus.yaml")); err != nil {
		return err
	}
	seen, err := watch(ctx, os.Args[1])
	if err != nil {
		return err
	}
	panels, err := readDashboard(above + "/grafana/dashboards/agentos.json")
	if err != nil {
		return err
	}
	alerts, err := readAlerts(above + "/alerts.yaml")
	if err != nil {
		return err
	}
	if err := errors.Join(seen.checkPanels(ctx, panels), seen.checkAlerts(ctx, alerts)); err != nil {
		return err
	}
	fmt.Printf("collector and Prometheus load their files; %d expressions of the dashboard and %d alerts hold on %d series of a running kernel\n",
		len(panels), len(alerts), seen.len())
	return nil
}
