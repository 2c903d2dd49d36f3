package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// partitions of a topic on Kafka by default: more replicas than that have nothing to do.
const partitions = 12

// check holds the objects against the kernel and against each other.
func (b *bundle) check(k kernel) []string {
	var findings []string
	for _, w := range b.workloads() {
		for _, f := range b.checkPod(k, w) {
			findings = append(findings, w.name+": "+f)
		}
	}
	bad := func(format string, args ...any) { findings = append(findings, fmt.Sprintf(format, args...)) }
	b.checkParts(k, bad)
	b.checkServices(bad)
	b.checkUpstreams(bad)
	b.checkBudgets(bad)
	b.checkAutoscalers(k, bad)
	b.checkPolicies(bad)
	return findings
}

// names are the names of objects.
func names[T metav1.Object](objects []T) []string {
	out := make([]string, len(objects))
	for i, o := range objects {
		out[i] = o.GetName()
	}
	return out
}

// checkParts looks for every program of the kernel, once, and the migration.
func (b *bundle) checkParts(k kernel, bad func(string, ...any)) {
	have := map[string]int{}
	for _, w := range b.workloads() {
		have[w.component()]++
	}
	for _, s := range append([]string{"migrate"}, k.services...) {
		if have[s] != 1 {
			bad("%d workloads with the component %s, there must be one", have[s], s)
		}
		delete(have, s)
	}
	for s := range have {
		bad("the kernel has no program %q", s)
	}
}

func (b *bundle) checkServices(bad func(string, ...any)) {
	for _, s := range b.services {
		pods := b.matching(labels.SelectorFromSet(s.Spec.Selector))
		if len(pods) != 1 {
			bad("Service %s: selects the pods of %d workloads", s.Name, len(pods))
			continue
		}
		for _, p := range s.Spec.Ports {
			if n := port(pods[0].pod, p.TargetPort.StrVal); n == 0 || n != p.Port {
				bad("Service %s: port %d leads to %s, which is %d in its pods", s.Name, p.Port, p.TargetPort.String(), n)
			}
		}
	}
	for _, i := range b.ingresses {
		for _, r := range i.Spec.Rules {
			for _, p := range r.HTTP.Paths {
				b.checkBackend(i.Name, p.Backend.Service, bad)
			}
		}
	}
}

func (b *bundle) checkBackend(ingress string, to *networkingv1.IngressServiceBackend, bad func(string, ...any)) {
	at := slices.IndexFunc(b.services, func(s *corev1.Service) bool {
		return to != nil && s.Name == to.Name && slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
			return p.Name == to.Port.Name || p.Port == to.Port.Number
		})
	})
	if at < 0 {
		bad("Ingress %s: its backend is no port of a service here", ingress)
	}
}

// checkUpstreams follows the edge's addresses to the services, by name and port.
func (b *bundle) checkUpstreams(bad func(string, ...any)) {
	for _, w := range b.workloads() {
		if w.component() != "edge" {
			continue
		}
		found := 0
		for i, a := range w.pod.Spec.Containers[0].Args {
			if a != "--upstream" {
				continue
			}
			name, to, _ := strings.Cut(w.pod.Spec.Containers[0].Args[i+1], "=")
			u, err := url.Parse(to)
			ok := err == nil && slices.ContainsFunc(b.services, func(s *corev1.Service) bool {
				return s.Name == u.Hostname() && s.Spec.Selector["app.kubernetes.io/component"] == name &&
					slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return u.Port() == fmt.Sprint(p.Port) })
			})
			if !ok {
				bad("%s: upstream %s is no service here", w.name, w.pod.Spec.Containers[0].Args[i+1])
			}
			found++
		}
		if want := len(b.deployments) - 1; found != want {
			bad("%s: has %d upstreams, there are %d services", w.name, found, want)
		}
	}
}

func (b *bundle) checkBudgets(bad func(string, ...any)) {
	covered := map[string]int{}
	for _, p := range b.budgets {
		pods := b.selected(p.Spec.Selector)
		if len(pods) != 1 {
			bad("PodDisruptionBudget %s: selects the pods of %d workloads", p.Name, len(pods))
		}
		for _, w := range pods {
			covered[w.name]++
		}
	}
	for _, w := range b.workloads() {
		if !w.job && covered[w.name] != 1 {
			bad("%s: has %d disruption budgets", w.name, covered[w.name])
		}
	}
}

func (b *bundle) checkAutoscalers(k kernel, bad func(string, ...any)) {
	for _, a := range b.autoscalers {
		i := slices.Index(names(b.deployments), a.Spec.ScaleTargetRef.Name)
		if i < 0 {
			bad("HorizontalPodAutoscaler %s: its deployment is not here", a.Name)
			continue
		}
		component := b.deployments[i].Spec.Template.Labels["app.kubernetes.io/component"]
		if b.deployments[i].Spec.Replicas != nil && *b.deployments[i].Spec.Replicas != 1 { // 1 is the default of a missing one
			bad("HorizontalPodAutoscaler %s: an apply would set the replicas back", a.Name)
		}
		if a.Spec.MaxReplicas > partitions {
			bad("HorizontalPodAutoscaler %s: more replicas than the %d partitions have nothing to do", a.Name, partitions)
		}
		for _, m := range a.Spec.Metrics {
			if m.External == nil {
				continue
			}
			if !k.metrics[m.External.Metric.Name] {
				bad("HorizontalPodAutoscaler %s: the kernel has no metric %s", a.Name, m.External.Metric.Name)
			}
			if s := m.External.Metric.Selector; s == nil || s.MatchLabels["service"] != component {
				bad("HorizontalPodAutoscaler %s: looks at the metric of another service", a.Name)
			}
		}
	}
}

func (b *bundle) checkPolicies(bad func(string, ...any)) {
	closed := map[string]bool{}
	for _, p := range b.policies {
		pods := b.selected(&p.Spec.PodSelector)
		if len(pods) == 0 {
			bad("NetworkPolicy %s: selects no pod", p.Name)
		}
		for _, w := range pods {
			closed[w.name] = closed[w.name] || len(p.Spec.Ingress)+len(p.Spec.Egress) == 0 && len(p.Spec.PolicyTypes) == 2
		}
		for _, r := range p.Spec.Ingress {
			b.checkPeers(p.Name, r.From, bad)
			for _, port := range r.Ports {
				checkNamed(p.Name, port.Port, pods, bad)
			}
		}
		for _, r := range p.Spec.Egress {
			b.checkPeers(p.Name, r.To, bad)
		}
	}
	for _, w := range b.workloads() {
		if !closed[w.name] {
			bad("%s: no NetworkPolicy denies what is not listed", w.name)
		}
	}
}

// checkPeers wants a peer in this namespace to be a pod of ours.
func (b *bundle) checkPeers(policy string, peers []networkingv1.NetworkPolicyPeer, bad func(string, ...any)) {
	for _, p := range peers {
		if p.NamespaceSelector == nil && p.PodSelector != nil && len(b.selected(p.PodSelector)) == 0 {
			bad("NetworkPolicy %s: a peer selects no pod", policy)
		}
	}
}

func checkNamed(policy string, at *intstr.IntOrString, pods []workload, bad func(string, ...any)) {
	if at == nil || at.Type != intstr.String {
		return
	}
	for _, w := range pods {
		if port(w.pod, at.StrVal) == 0 && !w.job {
			bad("NetworkPolicy %s: %s has no port %s", policy, w.name, at.StrVal)
		}
	}
}
