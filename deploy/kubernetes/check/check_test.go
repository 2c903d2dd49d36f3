package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// tree is a copy of the manifests in memory.
func tree(t *testing.T) filesys.FileSystem {
	t.Helper()
	mem := filesys.MakeFsInMemory()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return mem.WriteFile("/kubernetes/"+strings.TrimPrefix(filepath.ToSlash(path), "../"), raw)
	})
	if err != nil {
		t.Fatal(err)
	}
	return mem
}

func kernelOf(t *testing.T) kernel {
	t.Helper()
	k, err := readKernel(root)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func findings(k kernel, fs filesys.FileSystem, overlay string) []string {
	b, out := load(fs, "/kubernetes/overlays/"+overlay)
	return append(out, b.check(k)...)
}

func TestOverlaysAreRight(t *testing.T) {
	t.Parallel()
	dirs, err := os.ReadDir("../overlays")
	if err != nil || len(dirs) == 0 {
		t.Fatal(err)
	}
	k, mem := kernelOf(t), tree(t)
	for _, d := range dirs {
		for _, f := range findings(k, mem, d.Name()) {
			t.Errorf("%s: %s", d.Name(), f)
		}
	}
}

// One change each, and what must be said about it.
func TestBrokenManifestsAreFound(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ file, old, new, want string }{
		"an unknown field":               {"base/unit/deployment.yaml", "revisionHistoryLimit:", "revisionHistory:", "unknown field"},
		"a wrong type":                   {"base/unit/deployment.yaml", "replicas: 2", "replicas: two", "cannot unmarshal"},
		"not YAML":                       {"base/unit/service.yaml", "spec:", "spec: [", "does not render"},
		"an old version":                 {"components/autoscaling/autoscalers.yaml", "autoscaling/v2", "autoscaling/v1", "unknown field"},
		"a value the server refuses":     {"base/unit/deployment.yaml", "failureThreshold: 3", "failureThreshold: -3", "must be greater than or equal to 0"},
		"a port name the server refuses": {"base/unit/service.yaml", "name: http", "name: HTTP", "a lowercase RFC 1123 label"},
		"memory request over limit":      {"base/unit/deployment.yaml", "memory: 128Mi", "memory: 1Gi", "must be less than or equal to memory limit"},
		"a doubled key":                  {"base/config.yaml", "AGENTOS_LOG: json", "AGENTOS_LOG: json\n  AGENTOS_LOG: text", "already"},
		"root":                           {"base/unit/deployment.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"},
		"capabilities":                   {"base/unit/deployment.yaml", "drop: [ALL]", "drop: [NET_RAW]", "unrestricted capabilities"},
		"no seccomp profile":             {"base/unit/deployment.yaml", "type: RuntimeDefault", "type: Unconfined", "seccompProfile"},
		"a writable root":                {"base/unit/deployment.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "can write to its root"},
		"a token":                        {"base/unit/deployment.yaml", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "mounts a token"},
		"no probe":                       {"base/unit/deployment.yaml", "livenessProbe:\n            httpGet: {path: /healthz, ", "livenessProbe:\n            tcpSocket: {", "no liveness probe"},
		"a probe of another path":        {"base/unit/deployment.yaml", "path: /readyz", "path: /ready", "asks /ready"},
		"a probe of another port":        {"base/unit/deployment.yaml", "path: /readyz, port: http", "path: /readyz, port: web", "asks port web"},
		"a port nobody listens on":       {"base/unit/deployment.yaml", "0.0.0.0:7433", "0.0.0.0:7434", `serves on port "7434"`},
		"too little time to stop":        {"base/unit/deployment.yaml", "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 30", "stopping may take 45s"},
		"no memory limit":                {"base/migrate.yaml", "limits: {memory: 256Mi, ephemeral", "limits: {ephemeral", "has no memory limit"},
		"a soft limit over the hard":     {"base/config.yaml", "448MiB", "512MiB", "leaves nothing"},
		"a variable nobody reads":        {"base/config.yaml", "KAFKA_BROKERS:", "KAFKA_BROKER:", "does not read the variable KAFKA_BROKER"},
		"a flag that is not there":       {"base/unit/deployment.yaml", "--log-level", "--loglevel", "no flag --loglevel"},
		"an image without a tag":         {"overlays/small/kustomization.yaml", "newTag: dev", "newTag: latest", "no fixed tag"},
		"a secret nobody knows":          {"base/unit/deployment.yaml", "secretName: agentos", "secretName: agentos-keys", "agentos-keys"},
		"another config map":             {"base/llm-gateway/models.yaml", "name: agentos\n            - secretRef", "name: agentos-x\n            - secretRef", `config map "agentos-x"`},
		"a claim that is not made":       {"base/workspaces/kustomization.yaml", "claimName: agentos-workspaces", "claimName: work", `claim "work"`},
		"a service forgotten":            {"base/kustomization.yaml", "  - learning\n", "", "0 workloads with the component learning"},
		"a service with another name":    {"base/tools/kustomization.yaml", "component: tools", "component: tool", `no program "tool"`},
		"a wrong upstream":               {"base/edge/kustomization.yaml", "audit=http://agentos-audit:7433", "audit=http://agentos-audit:80", "is no service here"},
		"an upstream of another":         {"base/edge/kustomization.yaml", "audit=http://agentos-audit", "audit=http://agentos-tools", "is no service here"},
		"a budget for nothing":           {"base/unit/disruption.yaml", "app.kubernetes.io/name: agentos", "app.kubernetes.io/version: one", "selects the pods of 0 workloads"},
		"a budget that blocks":           {"base/unit/disruption.yaml", "maxUnavailable: 1", "maxUnavailable: 1\n  minAvailable: 1", "cannot be both set"},
		"a metric nobody exports":        {"components/autoscaling/autoscalers.yaml", "name: agentos_group_lag", "name: agentos_lag", "no metric agentos_lag"},
		"replicas set back":              {"components/autoscaling/kustomization.yaml", "op: remove", "op: test\n        value: 2", "would set the replicas back"},
		"more replicas than work":        {"components/autoscaling/autoscalers.yaml", "maxReplicas: 6", "maxReplicas: 24", "have nothing to do"},
		"an open network":                {"base/network.yaml", "policyTypes: [Ingress, Egress]\n---\n# All", "policyTypes: [Ingress]\n---\n# All", "denies what is not listed"},
		"a policy for nobody":            {"base/network.yaml", "component: llm-gateway", "component: gateway", "selects no pod"},
		"a backend that is not there":    {"overlays/production/ingress.yaml", "name: agentos-edge", "name: edge", "is no port of a service"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem, k := tree(t), kernelOf(t)
			path := "/kubernetes/" + tc.file
			raw, err := mem.ReadFile(path)
			if err != nil || !strings.Contains(string(raw), tc.old) {
				t.Fatalf("%s does not contain %q (%v)", tc.file, tc.old, err)
			}
			if err := mem.WriteFile(path, []byte(strings.ReplaceAll(string(raw), tc.old, tc.new))); err != nil {
				t.Fatal(err)
			}
			overlay := "production"
			if strings.HasPrefix(tc.file, "overlays/small") {
				overlay = "small"
			}
			got := strings.Join(findings(k, mem, overlay), "\n")
			if !strings.Contains(got, tc.want) {
				t.Errorf("want %q, found:\n%s", tc.want, got)
			}
		})
	}
}

func TestServedListIsRead(t *testing.T) {
	t.Parallel()
	k := kernelOf(t)
	if got := strings.Join(k.services, " "); got != "scheduler context llm-gateway tools audit learning edge" {
		t.Errorf("services read from the help: %s", got)
	}
	for _, v := range []string{"AGENTOS_HOME", "DATABASE_URL", "KAFKA_BROKERS", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if !k.variables[v] {
			t.Errorf("the variable %s was not found in the sources", v)
		}
	}
}
