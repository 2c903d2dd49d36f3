package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	_ "github.com/prometheus/prometheus/discovery/dns" // prometheus.yaml finds replicas by it
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"go.opentelemetry.io/collector/processor/memorylimiterprocessor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
)

// checkCollector loads the collector's file as the collector does before it starts, with the components it names.
func checkCollector(ctx context.Context, file string) error {
	factories := func() (otelcol.Factories, error) {
		f := otelcol.Factories{Telemetry: otelconftelemetry.NewFactory()}
		var err1, err2, err3 error
		f.Receivers, err1 = otelcol.MakeFactoryMap[receiver.Factory](otlpreceiver.NewFactory())
		f.Processors, err2 = otelcol.MakeFactoryMap[processor.Factory](batchprocessor.NewFactory(), memorylimiterprocessor.NewFactory())
		f.Exporters, err3 = otelcol.MakeFactoryMap[exporter.Factory](otlpexporter.NewFactory())
		return f, errors.Join(err1, err2, err3)
	}
	c, err := otelcol.NewCollector(otelcol.CollectorSettings{
		BuildInfo: component.NewDefaultBuildInfo(), Factories: factories,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
			URIs: []string{"file:" + file}, ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory()},
		}},
	})
	if err == nil {
		err = c.DryRun(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// checkPrometheus loads Prometheus' file strictly.
func checkPrometheus(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := config.Load(string(raw), slog.New(slog.DiscardHandler)); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// expression is one query and where it stands.
type expression struct {
	where, text string
}

// readDashboard lists the queries of a Grafana dashboard.
func readDashboard(path string) ([]expression, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var d struct {
		UID    string
		Title  string
		Panels []struct {
			Type    string
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var out []expression
	for _, p := range d.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			return nil, fmt.Errorf("%s: the panel %q asks nothing", path, p.Title)
		}
		for _, t := range p.Targets {
			out = append(out, expression{"panel " + p.Title, strings.ReplaceAll(t.Expr, "$__rate_interval", "1m")})
		}
	}
	if d.UID == "" || d.Title == "" || len(out) == 0 {
		return nil, fmt.Errorf("%s: no dashboard", path)
	}
	return out, nil
}

// readAlerts lists the alerts, read with Prometheus' own strict reader.
func readAlerts(path string) ([]expression, error) {
	groups, errs := rulefmt.ParseFile(path, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var out []expression
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Annotations["summary"] == "" || r.Annotations["action"] == "" || r.Labels["severity"] == "" {
				return nil, fmt.Errorf("%s: the alert %s does not say what is wrong, how bad and what to do", path, r.Alert)
			}
			out = append(out, expression{"alert " + r.Alert, r.Expr})
		}
	}
	return out, nil
}
