package main

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// bundle is what one folder renders to, decoded.
type bundle struct {
	objects []runtime.Object

	deployments []*appsv1.Deployment
	jobs        []*batchv1.Job
	services    []*corev1.Service
	configs     []*corev1.ConfigMap
	accounts    []*corev1.ServiceAccount
	claims      []*corev1.PersistentVolumeClaim
	budgets     []*policyv1.PodDisruptionBudget
	autoscalers []*autoscalingv2.HorizontalPodAutoscaler
	policies    []*networkingv1.NetworkPolicy
	ingresses   []*networkingv1.Ingress
}

// load renders a folder and decodes it. What cannot be rendered or is refused by the schema is a finding.
func load(fs filesys.FileSystem, dir string) (bundle, []string) {
	var b bundle
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, dir)
	if err != nil {
		return b, []string{"does not render: " + err.Error()}
	}
	var findings []string
	for _, r := range rendered.Resources() {
		raw, err := r.AsYAML()
		if err != nil {
			return b, append(findings, err.Error())
		}
		obj, faults := decode(raw)
		for _, f := range faults {
			findings = append(findings, fmt.Sprintf("%s %s: %s", r.GetKind(), r.GetName(), f))
		}
		if obj != nil {
			b.add(obj)
		}
	}
	return b, findings
}

func (b *bundle) add(obj runtime.Object) {
	b.objects = append(b.objects, obj)
	switch o := obj.(type) {
	case *appsv1.Deployment:
		b.deployments = append(b.deployments, o)
	case *batchv1.Job:
		b.jobs = append(b.jobs, o)
	case *corev1.Service:
		b.services = append(b.services, o)
	case *corev1.ConfigMap:
		b.configs = append(b.configs, o)
	case *corev1.ServiceAccount:
		b.accounts = append(b.accounts, o)
	case *corev1.PersistentVolumeClaim:
		b.claims = append(b.claims, o)
	case *policyv1.PodDisruptionBudget:
		b.budgets = append(b.budgets, o)
	case *autoscalingv2.HorizontalPodAutoscaler:
		b.autoscalers = append(b.autoscalers, o)
	case *networkingv1.NetworkPolicy:
		b.policies = append(b.policies, o)
	case *networkingv1.Ingress:
		b.ingresses = append(b.ingresses, o)
	}
}

// workload is a pod template and where it comes from.
type workload struct {
	name string // kind and name, for people
	job  bool
	pod  *corev1.PodTemplateSpec
}

func (w workload) component() string { return w.pod.Labels["app.kubernetes.io/component"] }

func (b *bundle) workloads() []workload {
	var out []workload
	for _, d := range b.deployments {
		out = append(out, workload{name: "Deployment " + d.Name, pod: &d.Spec.Template})
	}
	for _, j := range b.jobs {
		out = append(out, workload{name: "Job " + j.Name, job: true, pod: &j.Spec.Template})
	}
	return out
}

// selected are the workloads whose pods a selector means; a nil selector means none.
func (b *bundle) selected(s *metav1.LabelSelector) []workload {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil
	}
	return b.matching(sel)
}

func (b *bundle) matching(sel labels.Selector) []workload {
	var out []workload
	for _, w := range b.workloads() {
		if sel.Matches(labels.Set(w.pod.Labels)) {
			out = append(out, w)
		}
	}
	return out
}

// port is the number of a named port of a pod's own containers, or 0.
func port(pod *corev1.PodTemplateSpec, name string) int32 {
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == name {
				return p.ContainerPort
			}
		}
	}
	return 0
}
