package main

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	securityapi "k8s.io/pod-security-admission/api"
	security "k8s.io/pod-security-admission/policy"
)

// decode takes one document as the API server takes a create: unknown and doubled fields are refused, defaults
// are set, the result is validated. The object is that of the API version in the document.
func decode(raw []byte) (runtime.Object, []string) {
	codecs := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)
	obj, kind, err := codecs.UniversalDeserializer().Decode(raw, nil, nil)
	if err != nil {
		return nil, []string{err.Error()}
	}
	if newest := legacyscheme.Scheme.PrioritizedVersionsForGroup(kind.Group)[0]; newest != kind.GroupVersion() {
		return nil, []string{fmt.Sprintf("%s is not the current version, %s is", kind.GroupVersion(), newest)}
	}
	legacyscheme.Scheme.Default(obj)
	internal, err := legacyscheme.Scheme.ConvertToVersion(obj, schema.GroupVersion{Group: kind.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return nil, []string{err.Error()}
	}
	invalid, err := validate(internal)
	if err != nil {
		return nil, []string{err.Error()}
	}
	var findings []string
	for _, f := range invalid {
		findings = append(findings, f.Error())
	}
	return obj, append(findings, warnings(internal)...)
}

// validate is what the API server's strategies call for a new object.
func validate(obj runtime.Object) (field.ErrorList, error) {
	switch o := obj.(type) {
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(o, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)), nil
	case *batch.Job:
		// As a template: what the server itself adds to a job before it validates it is not there.
		t := batch.JobTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}
		return batchvalidation.ValidateJobTemplateSpec(&t, nil, field.NewPath("job"), podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)), nil
	case *core.Service:
		return corevalidation.ValidateServiceCreate(o), nil
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(o), nil
	case *core.Secret:
		return corevalidation.ValidateSecret(o), nil
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(o), nil
	case *core.Namespace:
		return corevalidation.ValidateNamespace(o), nil
	case *core.PersistentVolumeClaim:
		return corevalidation.ValidatePersistentVolumeClaim(o, corevalidation.ValidationOptionsForPersistentVolumeClaim(o, nil)), nil
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{}), nil
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{}), nil
	case *networking.Ingress:
		return networkingvalidation.ValidateIngressCreate(o), nil
	case *autoscaling.HorizontalPodAutoscaler:
		return autoscalingvalidation.ValidateHorizontalPodAutoscaler(o, autoscalingvalidation.HorizontalPodAutoscalerSpecValidationOptions{MinReplicasLowerBound: 1}), nil
	}
	return nil, errors.New("this program does not know how to validate this kind: add it to validate")
}

// warnings are what kubectl would print at an apply.
func warnings(obj runtime.Object) []string {
	var pod *core.PodTemplateSpec
	switch o := obj.(type) {
	case *apps.Deployment:
		pod = &o.Spec.Template
	case *batch.Job:
		pod = &o.Spec.Template
	default:
		return nil
	}
	return podutil.GetWarningsForPodTemplate(context.Background(), field.NewPath("spec", "template"), pod, nil)
}

// restricted are the violations of the Pod Security Standard "restricted".
func restricted(pod *corev1.PodTemplateSpec) ([]string, error) {
	evaluator, err := security.NewEvaluator(security.DefaultChecks(), nil)
	if err != nil {
		return nil, err
	}
	level := securityapi.LevelVersion{Level: securityapi.LevelRestricted, Version: securityapi.LatestVersion()}
	var out []string
	for _, r := range evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec) {
		if !r.Allowed {
			out = append(out, "Pod Security Standard restricted: "+r.ForbiddenReason+" ("+r.ForbiddenDetail+")")
		}
	}
	return out, nil
}
