package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// checkPod holds one pod template against the kernel and against what a pod of ours must have.
func (b *bundle) checkPod(k kernel, w workload) []string {
	findings, err := restricted(w.pod)
	if err != nil {
		findings = append(findings, err.Error())
	}
	bad := func(format string, args ...any) { findings = append(findings, fmt.Sprintf(format, args...)) }
	spec := w.pod.Spec
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		bad("mounts a token of the cluster")
	}
	if !slices.Contains(names(b.accounts), spec.ServiceAccountName) {
		bad("service account %q is not made here", spec.ServiceAccountName)
	}
	for _, v := range spec.Volumes {
		if c := v.PersistentVolumeClaim; c != nil && !slices.Contains(names(b.claims), c.ClaimName) {
			bad("claim %q is not made here", c.ClaimName)
		}
		if s := v.Secret; s != nil && !strings.Contains(k.readme, "`"+s.SecretName+"`") {
			bad("README.md does not say how to make the secret %q", s.SecretName)
		}
	}
	for _, t := range spec.TopologySpreadConstraints {
		if len(b.selected(t.LabelSelector)) != 1 {
			bad("topology spread over %s counts other pods than its own", t.TopologyKey)
		}
	}
	for i := range spec.InitContainers {
		b.checkContainer(k, &spec.InitContainers[i], bad)
	}
	for i := range spec.Containers {
		c := &spec.Containers[i]
		b.checkContainer(k, c, bad)
		if w.job {
			continue
		}
		checkProbes(w, c, bad)
		checkStop(w, c, bad)
	}
	return findings
}

func (b *bundle) checkContainer(k kernel, c *corev1.Container, outer func(string, ...any)) {
	bad := func(format string, args ...any) { outer("container "+c.Name+": "+format, args...) }
	for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if _, ok := c.Resources.Requests[r]; !ok {
			bad("requests no %s", r)
		}
	}
	memory, limited := c.Resources.Limits[corev1.ResourceMemory]
	if !limited {
		bad("has no memory limit")
	}
	if _, ok := c.Resources.Limits[corev1.ResourceEphemeralStorage]; !ok {
		bad("has no limit of ephemeral storage")
	}
	if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		bad("can write to its root file system")
	}
	if _, tag, ok := strings.Cut(c.Image, ":"); !ok || tag == "latest" {
		bad("image %q has no fixed tag or digest", c.Image)
	}
	env := b.environment(k, c, bad)
	for name := range env {
		if !k.variables[name] && !strings.Contains(strings.Join(c.Args, " "), "$("+name+")") {
			bad("the kernel does not read the variable %s", name)
		}
	}
	if soft := env["GOMEMLIMIT"]; soft != "" && float64(mebibytes(soft)) > 0.95*float64(memory.Value()>>20) {
		bad("GOMEMLIMIT %s leaves nothing of the limit %s", soft, memory.String())
	}
	checkArgs(k, c, bad)
}

// environment is what a container gets, with "" for values that are not known here.
func (b *bundle) environment(k kernel, c *corev1.Container, bad func(string, ...any)) map[string]string {
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		if ref := from.SecretRef; ref != nil && !strings.Contains(k.readme, "`"+ref.Name+"`") {
			bad("README.md does not say how to make the secret %q", ref.Name)
		}
		if ref := from.ConfigMapRef; ref != nil {
			i := slices.Index(names(b.configs), ref.Name)
			if i < 0 {
				bad("config map %q is not made here", ref.Name)
				continue
			}
			for name, value := range b.configs[i].Data {
				env[name] = value
			}
		}
	}
	for _, e := range c.Env {
		env[e.Name] = e.Value
		if f := e.ValueFrom; f != nil && f.SecretKeyRef != nil && !strings.Contains(k.readme, "`"+f.SecretKeyRef.Name+"`") {
			bad("README.md does not say how to make the secret %q", f.SecretKeyRef.Name)
		}
	}
	return env
}

func checkArgs(k kernel, c *corev1.Container, bad func(string, ...any)) {
	if len(c.Args) == 0 || k.flags[c.Args[0]] == nil {
		bad("%v is no verb the check knows", c.Args)
		return
	}
	for _, a := range c.Args[1:] {
		if flag, _, _ := strings.Cut(a, "="); strings.HasPrefix(flag, "--") && !k.flags[c.Args[0]][flag] {
			bad("agentos %s has no flag %s", c.Args[0], flag)
		}
	}
}

func checkProbes(w workload, c *corev1.Container, bad func(string, ...any)) {
	for name, want := range map[string]struct {
		probe *corev1.Probe
		path  string
	}{
		"startup": {c.StartupProbe, "/healthz"}, "liveness": {c.LivenessProbe, "/healthz"}, "readiness": {c.ReadinessProbe, "/readyz"},
	} {
		switch p := want.probe; {
		case p == nil || p.HTTPGet == nil:
			bad("no %s probe by HTTP", name)
		case p.HTTPGet.Path != want.path:
			bad("the %s probe asks %s, not %s", name, p.HTTPGet.Path, want.path)
		case port(w.pod, p.HTTPGet.Port.StrVal) == 0:
			bad("the %s probe asks port %s, which no container has", name, p.HTTPGet.Port.String())
		}
	}
	if _, at, _ := strings.Cut(flag(c.Args, "--http"), ":"); at != strconv.Itoa(int(port(w.pod, "http"))) {
		bad("serves on port %q, but its port \"http\" is %d", at, port(w.pod, "http"))
	}
}

// checkStop compares the time the kubelet gives a pod with the time the kernel may take: the pause before the
// signal, then the grace time for requests and calls, then half of it for the outbox.
func checkStop(w workload, c *corev1.Container, bad func(string, ...any)) {
	grace, err := time.ParseDuration(flag(c.Args, "--grace"))
	if err != nil {
		bad("--grace is not given as a duration: the time to stop cannot be checked")
		return
	}
	need := 2 * grace
	if l := c.Lifecycle; l != nil && l.PreStop != nil && l.PreStop.Sleep != nil {
		need += time.Duration(l.PreStop.Sleep.Seconds) * time.Second
	}
	if have := *w.pod.Spec.TerminationGracePeriodSeconds; time.Duration(have)*time.Second < need {
		bad("terminationGracePeriodSeconds is %d, stopping may take %s", have, need)
	}
}

// flag is the argument behind a flag.
func flag(args []string, name string) string {
	if i := slices.Index(args, name); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// mebibytes reads a value of GOMEMLIMIT in MiB; 0 in another unit.
func mebibytes(text string) int64 {
	m := regexp.MustCompile(`^(\d+)MiB$`).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseInt(m[1], 10, 64) // digits
	return n
}
