package conformance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// TestKubernetesJob holds the documented Job against Kubernetes' own types, with no
// unknown and no doubled field, and against what the API server demands of one
// (kubernetes, pkg/apis/batch/validation: completions with Indexed, restartPolicy,
// exit codes in order and of a container, FailIndex with a limit for each index, mounts
// that are volumes).
func TestKubernetesJob(t *testing.T) {
	data, err := os.ReadFile("../../docs/kubernetes-job.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var job batchv1.Job
	if err := yaml.UnmarshalStrict(data, &job); err != nil {
		t.Fatal(err)
	}
	if job.TypeMeta != (metav1.TypeMeta{Kind: "Job", APIVersion: batchv1.SchemeGroupVersion.String()}) {
		t.Errorf("it is a %+v", job.TypeMeta)
	}
	// Pods of an Indexed Job have its name with an index in theirs, as a host name.
	spec := job.Spec
	if faults := validation.IsDNS1123Label(fmt.Sprint(job.Name, "-", *spec.Completions-1)); len(faults) > 0 {
		t.Error(faults)
	}
	if *spec.CompletionMode != batchv1.IndexedCompletion || *spec.Completions != *spec.Parallelism || *spec.Completions < 2 {
		t.Errorf("%s, %d completions, %d at once", *spec.CompletionMode, *spec.Completions, *spec.Parallelism)
	}
	pod := spec.Template.Spec
	if pod.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("restartPolicy %q, which a podFailurePolicy does not go with", pod.RestartPolicy)
	}
	container := pod.Containers[0]
	for _, rule := range spec.PodFailurePolicy.Rules {
		on := rule.OnExitCodes
		known := rule.Action == batchv1.PodFailurePolicyActionFailJob || rule.Action == batchv1.PodFailurePolicyActionFailIndex && spec.BackoffLimitPerIndex != nil
		if !known || on.Operator != batchv1.PodFailurePolicyOnExitCodesOpIn || *on.ContainerName != container.Name ||
			on.Values[0] == 0 || !slices.IsSorted(on.Values) || len(slices.Compact(slices.Clone(on.Values))) != len(on.Values) {
			t.Errorf("%s on %+v", rule.Action, on)
		}
	}
	for _, mount := range container.VolumeMounts {
		if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name }) {
			t.Errorf("%s is no volume", mount.Name)
		}
	}
	// $(JOB_COMPLETION_INDEX) is what the kubelet puts there: the job's controller gives
	// each container the variable (batchv1.JobCompletionIndexAnnotation has its value).
	want := fmt.Sprintf("--shard=$(JOB_COMPLETION_INDEX)/%d", *spec.Completions)
	if !slices.Contains(container.Args, want) {
		t.Errorf("%s is not among %s", want, strings.Join(container.Args, " "))
	}
}
