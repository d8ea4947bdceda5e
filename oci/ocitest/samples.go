package ocitest

import (
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Sample is a tag of one of the samples operator's imagestreams. A table of
// them makes the images, the cluster's list and the operator's own files.
type Sample struct {
	Stream, Tag string
	Reference   string // host/path[:tag], as the operator's files have it
	Alias       string // instead of Reference: the tag of the same stream that this one follows (an ImageStreamTag)
	Missing     bool   // gone from its registry: not pushed
}

// ExampleSamples returns a table with what real ones have: several hosts, an
// alias, a reference without a tag, an image under two names, one that is
// gone, and a stream of jenkins.
func ExampleSamples() []Sample {
	return []Sample{
		{Stream: "httpd", Tag: "2.4-ubi9", Reference: "registry.redhat.io/ubi9/httpd-24:latest"},
		{Stream: "httpd", Tag: "latest", Alias: "2.4-ubi9"},
		{Stream: "jboss-eap74-openjdk11-openshift", Tag: "7.4.0", Reference: "registry.redhat.io/jboss-eap-7/eap74-openjdk11-openshift-rhel8"},
		{Stream: "jenkins", Tag: "2", Reference: "registry.redhat.io/ocp-tools-4/jenkins-rhel8:v4.14.0"},
		{Stream: "nodejs", Tag: "18-ubi8", Reference: "registry.access.redhat.com/ubi8/nodejs-18:latest"},
		{Stream: "nodejs", Tag: "16-ubi8", Reference: "registry.access.redhat.com/ubi8/nodejs-16:latest", Missing: true},
		{Stream: "python", Tag: "3.11-ubi9", Reference: "registry.access.redhat.com/ubi9/python-311:latest"},
		{Stream: "python", Tag: "3.9-ubi8", Reference: "registry.redhat.io/ubi8/python-39:1-117"},
		{Stream: "python", Tag: "3.9-ubi9", Reference: "registry.redhat.io/ubi8/python-39:1-117"},
	}
}

// ParseSamples reads tables of three columns: stream, tag and reference; and
// stream, tag and the tag that it follows. Lines that begin with # are left out.
func ParseSamples(references, aliases string) []Sample {
	var samples []Sample
	for i, table := range []string{references, aliases} {
		for line := range strings.Lines(table) {
			fields := strings.Fields(line)
			if strings.HasPrefix(line, "#") || len(fields) != 3 {
				continue
			}
			s := Sample{Stream: fields[0], Tag: fields[1], Reference: fields[2]}
			if i == 1 {
				s.Reference, s.Alias = "", fields[2]
			}
			samples = append(samples, s)
		}
	}
	return samples
}

// Samples pushes a small image, Docker schema 2 and different for each, for
// every reference that is not missing, and returns their digests by reference.
// Prefix maps a reference's host to the path before its repository on the
// registry pushed to ("registry.redhat.io" -> "redhat"); hosts not in it have
// none.
func (b *Builder) Samples(samples []Sample, prefix map[string]string) map[string]digest.Digest {
	pushed, places := map[string]digest.Digest{}, map[string]digest.Digest{}
	for _, s := range samples {
		if _, done := pushed[s.Reference]; done || s.Missing || s.Reference == "" {
			continue
		}
		host, repo, tag := splitReference(s.Reference)
		repo = join(prefix[host], repo)
		if d, there := places[repo+":"+tag]; there { // written in another way, with and without its tag
			pushed[s.Reference] = d
			continue
		}
		layer := b.Layer(repo, map[string]string{"etc/sample": s.Reference + "\n"}, "gzip")
		image := ImageOpts{Docker: true, Layers: []ocispec.Descriptor{layer}, Labels: map[string]string{"name": repo}}
		pushed[s.Reference] = b.Image(repo, tag, image).Digest
		places[repo+":"+tag] = pushed[s.Reference]
	}
	return pushed
}

// splitReference takes host/path[:tag][@digest] apart.
func splitReference(s string) (host, repo, tag string) {
	host, repo, _ = strings.Cut(s, "/")
	repo, _, _ = strings.Cut(repo, "@")
	repo, tag, _ = strings.Cut(repo, ":")
	return host, repo, orElse(tag, "latest")
}
