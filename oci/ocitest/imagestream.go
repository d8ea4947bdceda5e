package ocitest

import (
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// The label by which the samples operator knows its imagestreams, and the
// value of those that it looks after.
const (
	managedLabel = "samples.operator.openshift.io/managed"
	managedTrue  = "true"
)

// object is a JSON object; its keys are written in order of the alphabet, as oc
// does.
type object = map[string]any

// ImageStreamList is what `oc get imagestreams -n openshift -o json` prints on
// a cluster of this release with these samples: the streams of the samples
// operator, labelled as managed, and cli, installer and must-gather, which come
// from the payload and are not. A component that the release does not have gets
// a made-up digest.
func ImageStreamList(samples []Sample, release Release) []byte {
	streams := map[string]object{}
	for name, tags := range byStream(samples) {
		streams[name] = imageStream(name, object{managedLabel: managedTrue}, tags, "Local")
	}
	for _, name := range []string{"cli", "installer", "must-gather"} {
		from := release.Images[name]
		if from == "" {
			from = "quay.io/openshift-release-dev/ocp-v4.0-art-dev@" + digest.FromString(name).String()
		}
		streams[name] = imageStream(name, nil, []Sample{{Stream: name, Tag: "latest", Reference: from}}, "Source")
	}
	items := []object{}
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		items = append(items, streams[name])
	}
	list := object{
		"apiVersion": "v1", "kind": "List", "items": items,
		"metadata": object{"resourceVersion": ""},
	}
	return []byte(indented(list, "    ") + "\n")
}

// SampleFiles are the samples operator's own files for an architecture, path to
// content, as they stand in the image of the component cluster-samples-operator:
// opt/openshift/operator/x86_64/<product>/imagestreams/<stream>.json. They fit
// into [ReleaseOpts].Files.
func SampleFiles(arch string, samples []Sample) map[string]string {
	files := map[string]string{}
	for name, tags := range byStream(samples) {
		stream := imageStream(name, nil, tags, "Local")
		delete(stream, "status")
		stream["metadata"] = object{"name": name}
		files["opt/openshift/operator/"+arch+"/"+name+"/imagestreams/"+name+".json"] = indented(stream, "  ")
	}
	return files
}

// TemplateFile is a template of the samples operator for an architecture: the
// path and the content of its file. It builds from tags of imagestreams,
// "stream:tag", and runs images that it names itself, by a parameter.
func TemplateFile(arch, name string, tags []string, images ...string) (path, content string) {
	objects, parameters := []object{}, []object{{"name": "NAMESPACE", "value": "openshift"}}
	for _, tag := range tags {
		from := object{"kind": "ImageStreamTag", "name": tag, "namespace": "${NAMESPACE}"}
		objects = append(objects, object{"apiVersion": "build.openshift.io/v1", "kind": "BuildConfig",
			"spec": object{"strategy": object{"sourceStrategy": object{"from": from}}}})
	}
	for i, image := range images {
		parameter := "IMAGE_" + string(rune('A'+i))
		parameters = append(parameters, object{"name": parameter, "value": image})
		container := object{"name": "main", "image": "${" + parameter + "}"}
		objects = append(objects, object{"apiVersion": "apps/v1", "kind": "StatefulSet",
			"spec": object{"template": object{"spec": object{"containers": []object{container}}}}})
	}
	template := object{
		"apiVersion": "template.openshift.io/v1", "kind": "Template",
		"metadata": object{"name": name}, "objects": objects, "parameters": parameters,
	}
	return "opt/openshift/operator/" + arch + "/" + name + "/templates/" + name + ".json", indented(template, "  ")
}

func byStream(samples []Sample) map[string][]Sample {
	streams := map[string][]Sample{}
	for _, s := range samples {
		streams[s.Stream] = append(streams[s.Stream], s)
	}
	return streams
}

func imageStream(name string, labels object, tags []Sample, policy string) object {
	meta := object{
		"annotations":       object{"openshift.io/image.dockerRepositoryCheck": created},
		"creationTimestamp": created,
		"generation":        2,
		"name":              name,
		"namespace":         "openshift",
		"resourceVersion":   "14321",
		"uid":               uidOf(name),
	}
	if labels != nil {
		meta["labels"] = labels
	}
	specs, states := []object{}, []object{}
	for _, s := range tags {
		specs = append(specs, streamTag(s, policy))
		if s.Reference != "" {
			states = append(states, tagState(s))
		}
	}
	return object{
		"apiVersion": "image.openshift.io/v1",
		"kind":       "ImageStream",
		"metadata":   meta,
		"spec":       object{"lookupPolicy": object{"local": false}, "tags": specs},
		"status": object{
			"dockerImageRepository": "image-registry.openshift-image-registry.svc:5000/openshift/" + name,
			"tags":                  states,
		},
	}
}

// streamTag is an entry of spec.tags.
func streamTag(s Sample, policy string) object {
	from := object{"kind": "DockerImage", "name": s.Reference}
	if s.Alias != "" {
		from = object{"kind": "ImageStreamTag", "name": s.Alias}
	}
	return object{
		"annotations":     nil,
		"from":            from,
		"generation":      2,
		"importPolicy":    object{"importMode": "Legacy"},
		"name":            s.Tag,
		"referencePolicy": object{"type": policy},
	}
}

// tagState is an entry of status.tags: the image that was imported, or why it
// was not.
func tagState(s Sample) object {
	if s.Missing {
		return object{"tag": s.Tag, "items": nil, "conditions": []object{{
			"type": "ImportSuccess", "status": "False", "reason": "NotFound", "generation": 2,
			"lastTransitionTime": created, "message": "dockerimage.image.openshift.io \"" + s.Reference + "\" not found",
		}}}
	}
	_, image, pinned := strings.Cut(s.Reference, "@")
	if !pinned {
		image = digest.FromString(s.Reference).String() // made up: the list does not know the registry
	}
	host, repo, _ := splitReference(s.Reference)
	return object{"tag": s.Tag, "items": []object{{
		"created": created, "generation": 2, "image": image,
		"dockerImageReference": host + "/" + repo + "@" + image,
	}}}
}

// uidOf makes up a UID for a stream.
func uidOf(name string) string {
	c := commitOf(name)
	return c[:8] + "-" + c[8:12] + "-" + c[12:16] + "-" + c[16:20] + "-" + c[20:32]
}
