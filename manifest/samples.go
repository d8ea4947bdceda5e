package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// sampleHosts are the registries that the samples operator replaces, in the
// order in which it tries them (samples operator, upsertImageStream).
var sampleHosts = []string{
	"docker.io",
	"registry.redhat.io",
	"registry.access.redhat.com",
	"quay.io",
	"registry.svc.ci.openshift.org",
}

// RewriteSample returns what the samples operator makes of an image reference
// when its samplesRegistry is set (samples operator, updateDockerPullSpec and
// coreUpdateDockerPullSpec). It compares plain text, not registries and paths:
//
//   - What begins with samplesRegistry stays; so everything stays if that is "".
//   - With exactly two slashes, one of five known hosts at the beginning is
//     replaced by samplesRegistry, even if it is only a part of a longer host
//     name; without one of them, the first of the three parts is.
//   - Anything else gets samplesRegistry and a slash in front of the whole.
//
// The streams of [KeepsReferences] are not rewritten at all.
func RewriteSample(from, samplesRegistry string) string {
	if strings.HasPrefix(from, samplesRegistry) {
		return from
	}
	parts := strings.Split(from, "/")
	if len(parts) != 3 {
		return samplesRegistry + "/" + from
	}
	for _, host := range sampleHosts {
		if rest, found := strings.CutPrefix(from, host); found {
			return samplesRegistry + rest
		}
	}
	return samplesRegistry + "/" + parts[1] + "/" + parts[2]
}

// KeepsReferences says whether the samples operator leaves the references of a
// stream as they are, whatever samplesRegistry says (samples operator,
// updateDockerPullSpec). Only a mirror set makes a cluster find those elsewhere.
func KeepsReferences(stream string) bool {
	switch stream {
	case "jenkins", "jenkins-agent-nodejs", "jenkins-agent-maven":
		return true
	}
	return false
}

// SkippedStreams returns the names, sorted, of the streams that the samples
// operator should leave alone: those it manages and of which not every tag is
// held, and those whose tags are not known. A stream that it does not manage is
// never among them.
func SkippedStreams(streams []ImageStream, held func(stream string, t Tag) bool) []string {
	skipped := []string{}
	for _, s := range streams {
		lacking := slices.ContainsFunc(s.Tags, func(t Tag) bool { return !held(s.Name, t) })
		if s.Managed && (lacking || len(s.Tags) == 0) {
			skipped = append(skipped, s.Name)
		}
	}
	slices.Sort(skipped)
	return slices.Compact(skipped)
}

// SamplesPatch is a merge patch of configs.samples.operator.openshift.io/cluster
// that makes the samples operator create its streams, from a mirror, and leave
// out some of them.
type SamplesPatch struct {
	Registry string   // samplesRegistry: host with an optional port and path
	Skipped  []string // all skipped streams: a merge patch replaces the list
	Comment  string   // lines to stand in front, without "#"
}

type samplesSpec struct {
	ManagementState     string   `json:"managementState"`
	SamplesRegistry     string   `json:"samplesRegistry"`
	SkippedImagestreams []string `json:"skippedImagestreams"`
}

// managed must be said: an operator that once could not reach its registry has
// set its managementState to Removed.
const managed = "Managed"

// YAML returns the patch. The list of skipped streams is sorted, and present
// even if it is empty, so that it replaces an older one.
func (p SamplesPatch) YAML() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	skipped := append([]string{}, p.Skipped...)
	slices.Sort(skipped)
	text, err := yaml.Marshal(map[string]samplesSpec{"spec": {
		ManagementState:     managed,
		SamplesRegistry:     p.Registry,
		SkippedImagestreams: slices.Compact(skipped),
	}})
	if err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return withComment(p.Comment, text), nil
}

func (p SamplesPatch) check() error {
	if !mirrorName.MatchString(p.Registry) {
		return fmt.Errorf("samplesRegistry %.200q: %w", p.Registry, nameFault(p.Registry))
	}
	for _, name := range p.Skipped {
		if !streamName.MatchString(name) {
			return fmt.Errorf("%.80q is not a name of an imagestream", name)
		}
	}
	return nil
}

// ParseSamplesPatch reads what [SamplesPatch.YAML] wrote, edited by hand or not.
// Comments are dropped. Another managementState than Managed, and any further
// field of the spec, is an error, because writing the patch again would lose it.
func ParseSamplesPatch(data []byte) (SamplesPatch, error) {
	text, err := single(data)
	if err != nil {
		return SamplesPatch{}, err
	}
	var object struct {
		Spec json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(text, &object); err != nil || object.Spec == nil {
		return SamplesPatch{}, errors.New("it has no spec")
	}
	var spec samplesSpec
	if err := decodeStrict(object.Spec, &spec); err != nil {
		return SamplesPatch{}, fmt.Errorf("decode spec: %w", err)
	}
	if spec.ManagementState != managed {
		return SamplesPatch{}, fmt.Errorf("its managementState is %.80q, not %s", spec.ManagementState, managed)
	}
	p := SamplesPatch{Registry: spec.SamplesRegistry, Skipped: spec.SkippedImagestreams}
	slices.Sort(p.Skipped)
	p.Skipped = slices.Compact(p.Skipped)
	if err := p.check(); err != nil {
		return SamplesPatch{}, err
	}
	return p, nil
}
