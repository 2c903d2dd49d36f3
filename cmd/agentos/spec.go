package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/agentos-kernel/agentos/api"
	"github.com/agentos-kernel/agentos/libs/fault"
)

// specFlags are the flags that say what process to start.
type specFlags struct {
	file                                 string
	name, model, mode, system, workspace string
	tools                                []string
	priority, maxSteps, maxOutput        int
	maxTokens                            int64
	maxCost                              float64
	idle, stepTimeout                    time.Duration
}

func (f *specFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "file", "f", "", "YAML or JSON file with the fields of POST /v1/agents; flags win over it")
	flags.StringVar(&f.name, "name", "", "agent name; runs of one name are compared with each other")
	flags.StringVar(&f.model, "model", "", "provider/model")
	flags.StringVar(&f.mode, "mode", "", "task or conversation")
	flags.StringVar(&f.system, "system", "", "system prompt")
	flags.StringSliceVar(&f.tools, "tools", nil, "tools and tool sets it may use, a,b,…")
	flags.IntVar(&f.priority, "priority", 50, "0 to 100, lower runs first")
	flags.StringVar(&f.workspace, "workspace", "", "folder the file tools see")
	flags.IntVar(&f.maxSteps, "max-steps", 0, "model calls at most")
	flags.Int64Var(&f.maxTokens, "max-tokens", 0, "tokens at most, over all model calls")
	flags.Float64Var(&f.maxCost, "max-cost-usd", 0, "US dollars at most, over all model calls")
	flags.IntVar(&f.maxOutput, "max-output-tokens", 0, "output tokens at most of one model call")
	flags.DurationVar(&f.idle, "idle", 0, "how long a conversation may go without a message")
	flags.DurationVar(&f.stepTimeout, "step-timeout", 0, "how long one model call may take")
}

// spec joins file and flags. Task and model may still be missing.
func (f *specFlags) spec(cmd *cobra.Command) (api.AgentSpec, error) {
	var spec api.AgentSpec
	if f.file != "" {
		var err error
		if spec, err = readSpec(f.file); err != nil {
			return spec, err
		}
	}
	set := func(flag string, apply func()) {
		if cmd.Flags().Changed(flag) {
			apply()
		}
	}
	set("name", func() { spec.Name = f.name })
	set("model", func() { spec.Model = f.model })
	set("mode", func() { spec.Mode = api.AgentMode(f.mode) })
	set("system", func() { spec.System = f.system })
	set("tools", func() { spec.Tools = f.tools })
	set("priority", func() { spec.Priority = &f.priority })
	set("workspace", func() { spec.Workspace = f.workspace })
	set("max-steps", func() { spec.Limits.MaxSteps = f.maxSteps })
	set("max-tokens", func() { spec.Limits.MaxTokens = f.maxTokens })
	set("max-cost-usd", func() { spec.Limits.MaxCostUSD = f.maxCost })
	set("max-output-tokens", func() { spec.Limits.MaxOutputTokens = f.maxOutput })
	set("idle", func() { spec.Limits.IdleSeconds = wholeSeconds(f.idle) })
	set("step-timeout", func() { spec.Limits.StepSeconds = wholeSeconds(f.stepTimeout) })
	if spec.Workspace == "" {
		return spec, nil
	}
	abs, err := filepath.Abs(spec.Workspace)
	if err != nil {
		return spec, fault.Wrap(fault.Invalid, "cli.spec", "the workspace is no path", err).WithFix("give an absolute path")
	}
	spec.Workspace = abs
	return spec, nil
}

func wholeSeconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// readSpec reads an agent file. A relative workspace is taken from the file's folder.
func readSpec(path string) (api.AgentSpec, error) {
	const op = "cli.spec"
	raw, err := os.ReadFile(path)
	if err != nil {
		return api.AgentSpec{}, fault.Wrap(fault.Invalid, op, "the agent file cannot be read", err).WithFix("check the path after -f")
	}
	spec, err := parseSpec(raw)
	if err != nil {
		return spec, fault.Wrap(fault.Invalid, op, path+" is no agent file", err).
			WithFix("use the fields of POST /v1/agents; GET /openapi.yaml describes them")
	}
	if spec.Workspace != "" && !filepath.IsAbs(spec.Workspace) {
		spec.Workspace = filepath.Join(filepath.Dir(path), spec.Workspace)
	}
	return spec, nil
}

// parseSpec takes YAML, of which JSON is a part, through JSON: so the field names and their
// strictness are the wire's.
func parseSpec(raw []byte) (spec api.AgentSpec, err error) {
	docs := yaml.NewDecoder(bytes.NewReader(raw))
	var tree map[string]any
	if err := docs.Decode(&tree); err != nil {
		if errors.Is(err, io.EOF) {
			return spec, errors.New("it is empty")
		}
		return spec, err //nolint:wrapcheck // readSpec wraps it
	}
	if err := docs.Decode(new(any)); !errors.Is(err, io.EOF) {
		return spec, errors.New("it holds more than one document")
	}
	asJSON, err := json.Marshal(tree)
	if err != nil {
		return spec, err //nolint:wrapcheck // readSpec wraps it
	}
	dec := json.NewDecoder(bytes.NewReader(asJSON))
	dec.DisallowUnknownFields()
	return spec, dec.Decode(&spec) //nolint:wrapcheck // readSpec wraps it
}
