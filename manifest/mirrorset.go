package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Kinds of a [MirrorSet]: mirrors for what is pulled by digest, and by tag.
const (
	DigestMirrorSet = "ImageDigestMirrorSet"
	TagMirrorSet    = "ImageTagMirrorSet"
)

// Policies of a [Mirror]. A cluster takes no policy for AllowContactingSource.
const (
	NeverContactSource    = "NeverContactSource"
	AllowContactingSource = "AllowContactingSource"
)

// Mirror says where images of a source may be found instead.
type Mirror struct {
	Source  string   `json:"source"`  // repository, namespace, registry or "*.host"
	Mirrors []string `json:"mirrors"` // tried in this order, the source last

	// Policy says whether the source may be asked at all; "" leaves the field
	// out, which allows it.
	Policy string `json:"mirrorSourcePolicy,omitempty"`
}

// CheckMirrors applies the rules of the machine config operator to the entries
// of one cluster (helpers.go of its container-runtime-config): it renders none
// of a cluster's mirror sets while one of them breaks a rule. All faults are
// reported. Beyond what the operator refuses, an entry without mirrors is a
// fault, because clusters ignore it, its policy included.
//
// The same source may occur in several entries with one policy, where no
// policy counts as AllowContactingSource.
func CheckMirrors(mirrors []Mirror) error {
	var faults []error
	policies := map[string]string{}
	for _, m := range mirrors {
		faults = append(faults, checkEntry(m)...)
		policy := effective(m.Policy)
		if other, found := policies[m.Source]; found && other != policy {
			faults = append(faults, fmt.Errorf("source %.200q: one entry says %s, another %s", m.Source, other, policy))
		}
		policies[m.Source] = policy
	}
	return errors.Join(faults...)
}

func effective(policy string) string {
	if policy == "" {
		return AllowContactingSource
	}
	return policy
}

func checkEntry(m Mirror) []error {
	var faults []error
	if err := CheckSource(m.Source); err != nil {
		faults = append(faults, err)
	}
	switch m.Policy {
	case "", AllowContactingSource, NeverContactSource:
	default:
		faults = append(faults, fmt.Errorf("source %.200q: policy %.80q is neither %s nor %s", m.Source, m.Policy, NeverContactSource, AllowContactingSource))
	}
	if len(m.Mirrors) == 0 {
		faults = append(faults, fmt.Errorf("source %.200q: it has no mirrors", m.Source))
	}
	for i, mirror := range m.Mirrors {
		if err := CheckMirror(mirror); err != nil {
			faults = append(faults, err)
		}
		if slices.Contains(m.Mirrors[:i], mirror) {
			faults = append(faults, fmt.Errorf("source %.200q: mirror %.200q is there twice", m.Source, mirror))
		}
	}
	if m.Policy == NeverContactSource && slices.Contains(m.Mirrors, m.Source) {
		faults = append(faults, fmt.Errorf("source %.200q: it is among its own mirrors, which %s forbids", m.Source, NeverContactSource))
	}
	return faults
}

// MirrorSet is an object of config.openshift.io/v1 that gives a cluster mirrors.
type MirrorSet struct {
	Kind    string // DigestMirrorSet or TagMirrorSet
	Name    string // of the object
	Mirrors []Mirror
	Comment string // lines to stand in front, without "#"
}

const mirrorSetAPI = "config.openshift.io/v1"

// A DNS subdomain by Kubernetes' rules, which is what object names are.
var objectName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$`)

func (s MirrorSet) check() error {
	if _, err := mirrorField(s.Kind); err != nil {
		return err
	}
	if len(s.Name) > 253 || !objectName.MatchString(s.Name) {
		return fmt.Errorf("%.80q is not a name of an object", s.Name)
	}
	return CheckMirrors(s.Mirrors)
}

// mirrorField returns the field of the spec that holds a kind's entries.
func mirrorField(kind string) (string, error) {
	switch kind {
	case DigestMirrorSet:
		return "imageDigestMirrors", nil
	case TagMirrorSet:
		return "imageTagMirrors", nil
	}
	return "", fmt.Errorf("it is %s, not an %s or an %s", article(kind), DigestMirrorSet, TagMirrorSet)
}

// sorted returns the entries by source; those of one source, and the mirrors of
// each, stay in their order.
func sorted(mirrors []Mirror) []Mirror {
	mirrors = slices.Clone(mirrors)
	slices.SortStableFunc(mirrors, func(a, b Mirror) int { return strings.Compare(a.Source, b.Source) })
	return mirrors
}

// YAML returns the object, its entries sorted by source. A set without entries,
// and one that a cluster would refuse, is an error.
func (s MirrorSet) YAML() ([]byte, error) {
	if len(s.Mirrors) == 0 {
		return nil, fmt.Errorf("%s %s has no entries", s.Kind, s.Name)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	field, err := mirrorField(s.Kind)
	if err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": mirrorSetAPI,
		"kind":       s.Kind,
		"metadata":   map[string]string{"name": s.Name},
		"spec":       map[string][]Mirror{field: sorted(s.Mirrors)},
	})
	if err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return withComment(s.Comment, text), nil
}

// ParseMirrorSet reads one ImageDigestMirrorSet or ImageTagMirrorSet: what
// [MirrorSet.YAML] wrote, edited by hand or not. Comments, and metadata but the
// name, are dropped. Fields of the spec that the API does not have, and entries
// that a cluster would refuse, are errors.
func ParseMirrorSet(data []byte) (MirrorSet, error) {
	text, err := single(data)
	if err != nil {
		return MirrorSet{}, err
	}
	var object struct {
		header
		Spec json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return MirrorSet{}, errors.New("it is not a Kubernetes object")
	}
	field, err := mirrorField(object.Kind)
	if err != nil {
		return MirrorSet{}, err
	}
	if object.APIVersion != mirrorSetAPI {
		return MirrorSet{}, fmt.Errorf("it is an %s of %.80q, not of %q", object.Kind, object.APIVersion, mirrorSetAPI)
	}
	mirrors, err := specMirrors(object.Spec, field)
	if err != nil {
		return MirrorSet{}, err
	}
	set := MirrorSet{Kind: object.Kind, Name: object.Metadata.Name, Mirrors: mirrors}
	if err := set.check(); err != nil {
		return MirrorSet{}, err
	}
	return set, nil
}

// specMirrors decodes a spec whose only field is the named one.
func specMirrors(spec json.RawMessage, field string) ([]Mirror, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(spec, &fields); err != nil {
		return nil, errors.New("it has no spec")
	}
	for name := range fields {
		if name != field {
			return nil, fmt.Errorf("its spec has a field %.80q; only %s belongs there", name, field)
		}
	}
	var mirrors []Mirror
	if len(fields) > 0 {
		if err := decodeStrict(fields[field], &mirrors); err != nil {
			return nil, fmt.Errorf("decode %s: %w", field, err)
		}
	}
	return sorted(mirrors), nil
}

// MergeMirrors adds what is mirrored now to what has been mirrored before, so
// that nothing that a cluster finds today is lost. The result has each source
// once, sorted: a source of both has now's mirrors first, then those of held
// that are not among them, and now's policy, also where that is none. It fails
// if held or now, or what they come to, break the rules of [CheckMirrors].
func MergeMirrors(held, now []Mirror) ([]Mirror, error) {
	for _, mirrors := range [][]Mirror{held, now} {
		if err := CheckMirrors(mirrors); err != nil {
			return nil, err
		}
	}
	var merged []Mirror
	for _, m := range slices.Concat(now, held) {
		i := slices.IndexFunc(merged, func(o Mirror) bool { return o.Source == m.Source })
		if i < 0 {
			m.Mirrors = slices.Clone(m.Mirrors)
			merged = append(merged, m)
			continue
		}
		for _, mirror := range m.Mirrors {
			if !slices.Contains(merged[i].Mirrors, mirror) {
				merged[i].Mirrors = append(merged[i].Mirrors, mirror)
			}
		}
	}
	if err := CheckMirrors(merged); err != nil {
		return nil, err
	}
	return sorted(merged), nil
}
