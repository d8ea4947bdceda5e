package ocitest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSamplesStandWhereTheTableSays(t *testing.T) {
	b := StartRegistry(t).Builder()
	pushed := b.Samples(ExampleSamples(), map[string]string{"registry.redhat.io": "redhat"})
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	want := []string{
		"redhat/jboss-eap-7/eap74-openjdk11-openshift-rhel8", "redhat/ocp-tools-4/jenkins-rhel8",
		"redhat/ubi8/python-39", "redhat/ubi9/httpd-24", "ubi8/nodejs-18", "ubi9/python-311",
	}
	if diff := cmp.Diff(want, b.Repositories()); diff != "" {
		t.Errorf("repositories: %s", diff)
	}
	seen := map[string]string{}
	for reference, dg := range pushed {
		host, repo, tag := splitReference(reference)
		if host == "registry.redhat.io" {
			repo = "redhat/" + repo
		}
		if _, d := readNode(t, b, repo, tag); d.Digest != dg {
			t.Errorf("%s is %s, and was pushed as %s", reference, d.Digest, dg)
		}
		if other, twice := seen[dg.String()]; twice {
			t.Errorf("%s and %s are the same", reference, other)
		}
		seen[dg.String()] = reference
	}
}

// stream has the fields of an imagestream that readers look at.
type stream struct {
	APIVersion, Kind string
	Metadata         struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Spec struct {
		Tags []struct {
			Name string
			From struct{ Kind, Name string }
		}
	}
}

func TestImageStreamListIsAsOcPrintsIt(t *testing.T) {
	release := Release{Images: map[string]string{"cli": "quay.io/x@sha256:0"}}
	data := ImageStreamList(ExampleSamples(), release)
	if !strings.HasPrefix(string(data), "{\n    \"apiVersion\": \"v1\",\n    \"items\": [\n        {\n") {
		t.Errorf("it begins with %.80s", data)
	}
	var list struct {
		APIVersion, Kind string
		Items            []stream
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	tags := map[string]string{}
	for _, s := range list.Items {
		if s.Kind != "ImageStream" || s.APIVersion != "image.openshift.io/v1" || s.Metadata.Namespace != "openshift" {
			t.Errorf("%s: %s %s", s.Metadata.Name, s.APIVersion, s.Kind)
		}
		got[s.Metadata.Name] = s.Metadata.Labels["samples.operator.openshift.io/managed"]
		for _, tag := range s.Spec.Tags {
			tags[s.Metadata.Name+":"+tag.Name] = tag.From.Kind + " " + tag.From.Name
		}
	}
	want := map[string]string{
		"cli": "", "installer": "", "must-gather": "", "httpd": "true", "nodejs": "true",
		"jboss-eap74-openjdk11-openshift": "true", "jenkins": "true", "python": "true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("streams, managed or not: %s", diff)
	}
	for name, from := range map[string]string{
		"cli:latest":                            "DockerImage quay.io/x@sha256:0",
		"httpd:latest":                          "ImageStreamTag 2.4-ubi9",
		"httpd:2.4-ubi9":                        "DockerImage registry.redhat.io/ubi9/httpd-24:latest",
		"jboss-eap74-openjdk11-openshift:7.4.0": "DockerImage registry.redhat.io/jboss-eap-7/eap74-openjdk11-openshift-rhel8",
	} {
		if tags[name] != from {
			t.Errorf("%s is from %q", name, tags[name])
		}
	}
}
