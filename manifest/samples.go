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

// When a stream is skipped for tags of it that a cluster would not find.
const (
	SkipAny        = "any"         // any image tag is missing
	SkipAllMissing = "all-missing" // all image tags are missing
)

// Skips says whether the samples operator should leave a stream alone of which
// some image tags are missing. One of which nobody knows what a cluster would
// import is: it has no tags, or all those of a repository.
func (s ImageStream) Skips(missing int, policy string) bool {
	if policy == SkipAllMissing {
		return missing == len(s.Tags)
	}
	return missing > 0 || len(s.Tags) == 0 || s.Repository != ""
}

// SamplesPatch is a merge patch of configs.samples.operator.openshift.io/cluster
// that makes the samples operator create its streams and templates, from a
// mirror, and leave out some of them; or that makes it remove them all.
type SamplesPatch struct {
	Removed   bool     // managementState Removed, and nothing else
	Registry  string   // samplesRegistry: host with an optional port and path; "" = references stay as they are
	Skipped   []string // all skipped streams: a merge patch replaces the list
	Templates []string // likewise of templates; nil leaves the list of the cluster as it is
	Comment   string   // lines to stand in front, without "#"
}

type samplesSpec struct {
	ManagementState     string    `json:"managementState"`
	SamplesRegistry     *string   `json:"samplesRegistry,omitempty"`
	SkippedImagestreams *[]string `json:"skippedImagestreams,omitempty"`
	SkippedTemplates    *[]string `json:"skippedTemplates,omitempty"`
}

// managed must be said: an operator that once could not reach its registry has
// set its managementState to Removed.
const (
	managed = "Managed"
	removed = "Removed"
)

// YAML returns the patch. Lists are sorted, and present even if they are empty,
// so that they replace older ones.
func (p SamplesPatch) YAML() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	spec := samplesSpec{ManagementState: removed}
	if !p.Removed {
		skipped := sortedNames(p.Skipped)
		spec = samplesSpec{ManagementState: managed, SamplesRegistry: &p.Registry, SkippedImagestreams: &skipped}
		if p.Templates != nil {
			templates := sortedNames(p.Templates)
			spec.SkippedTemplates = &templates
		}
	}
	text, err := yaml.Marshal(map[string]samplesSpec{"spec": spec})
	if err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return withComment(p.Comment, text), nil
}

func sortedNames(names []string) []string {
	names = append([]string{}, names...)
	slices.Sort(names)
	return slices.Compact(names)
}

func (p SamplesPatch) check() error {
	if p.Registry != "" && !mirrorName.MatchString(p.Registry) {
		return fmt.Errorf("samplesRegistry %.200q: %w", p.Registry, nameFault(p.Registry))
	}
	for _, name := range p.Skipped {
		if !streamName.MatchString(name) {
			return fmt.Errorf("%.80q is not a name of an imagestream", name)
		}
	}
	for _, name := range p.Templates {
		if !streamName.MatchString(name) {
			return fmt.Errorf("%.80q is not a name of a template", name)
		}
	}
	return nil
}

// ParseSamplesPatch reads what [SamplesPatch.YAML] wrote, edited by hand or not.
// Comments are dropped. Another managementState than Managed, or Removed alone,
// and any further field of the spec, is an error, because writing the patch again
// would lose it.
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
	if spec == (samplesSpec{ManagementState: removed}) {
		return SamplesPatch{Removed: true}, nil
	}
	if spec.ManagementState != managed {
		return SamplesPatch{}, fmt.Errorf("its managementState is %.80q, not %s", spec.ManagementState, managed)
	}
	var p SamplesPatch
	if spec.SamplesRegistry != nil {
		p.Registry = *spec.SamplesRegistry
	}
	if spec.SkippedImagestreams != nil {
		p.Skipped = sortedNames(*spec.SkippedImagestreams)
	}
	if spec.SkippedTemplates != nil {
		p.Templates = sortedNames(*spec.SkippedTemplates)
	}
	if err := p.check(); err != nil {
		return SamplesPatch{}, err
	}
	return p, nil
}

// SamplesConfig is what a cluster's configuration of its samples operator says.
type SamplesConfig struct {
	Skipped, Templates []string // sorted
	Architectures      []string // as payloads name them; the operator fills them in
}

// ParseSamplesConfig reads configs.samples.operator.openshift.io/cluster as
// `oc get --output yaml`, or json, prints it.
func ParseSamplesConfig(data []byte) (SamplesConfig, error) {
	text, err := single(data)
	if err != nil {
		return SamplesConfig{}, err
	}
	var object struct {
		header
		Spec struct {
			Architectures       []string `json:"architectures"`
			SkippedImagestreams []string `json:"skippedImagestreams"`
			SkippedTemplates    []string `json:"skippedTemplates"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(text, &object.header); err != nil {
		return SamplesConfig{}, errors.New("it is not a Kubernetes object")
	}
	if object.Kind != "Config" || object.APIVersion != samplesAPI {
		return SamplesConfig{}, fmt.Errorf("it is %s of %.80q, not a Config of %q", article(object.Kind), object.APIVersion, samplesAPI)
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return SamplesConfig{}, fmt.Errorf("decode Config: %w", err)
	}
	c := SamplesConfig{Skipped: sortedNames(object.Spec.SkippedImagestreams), Templates: sortedNames(object.Spec.SkippedTemplates)}
	for _, arch := range object.Spec.Architectures {
		c.Architectures = append(c.Architectures, PayloadArch(arch))
	}
	return c, nil
}

const samplesAPI = "samples.operator.openshift.io/v1"
