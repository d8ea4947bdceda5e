package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Kinds of a [MirrorSet]: mirrors for what is pulled by digest, and by tag, and
// what came before the former in clusters before 4.13, which know no other kind.
const (
	DigestMirrorSet     = "ImageDigestMirrorSet"
	TagMirrorSet        = "ImageTagMirrorSet"
	ContentSourcePolicy = "ImageContentSourcePolicy"
)

// Policies of a [Mirror]. A cluster takes no policy for AllowContactingSource.
const (
	NeverContactSource    = "NeverContactSource"
	AllowContactingSource = "AllowContactingSource"
)

// Mirror says where images of a source may be found instead.
type Mirror struct {
	Source  string   `json:"source"`            // repository, namespace, registry or "*.host"
	Mirrors []string `json:"mirrors,omitempty"` // tried in this order, the source last

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

// checkEntry finds what the API or the operator refuses about one entry.
func checkEntry(m Mirror) []error {
	faults := operatorFaults(m)
	switch m.Policy {
	case "", AllowContactingSource, NeverContactSource:
	default:
		faults = append(faults, fmt.Errorf("source %.200q: policy %.80q is neither %s nor %s", m.Source, m.Policy, NeverContactSource, AllowContactingSource))
	}
	if len(m.Mirrors) == 0 {
		faults = append(faults, fmt.Errorf("source %.200q: it has no mirrors", m.Source))
	}
	for i, mirror := range m.Mirrors {
		if slices.Contains(m.Mirrors[:i], mirror) {
			faults = append(faults, fmt.Errorf("source %.200q: mirror %.200q is there twice", m.Source, mirror))
		}
	}
	return faults
}

// operatorFaults finds what the operator refuses about one entry.
func operatorFaults(m Mirror) []error {
	var faults []error
	if err := CheckSource(m.Source); err != nil {
		faults = append(faults, err)
	}
	for _, mirror := range m.Mirrors {
		if err := CheckMirror(mirror); err != nil {
			faults = append(faults, err)
		}
	}
	if m.Policy == NeverContactSource && slices.Contains(m.Mirrors, m.Source) {
		faults = append(faults, fmt.Errorf("source %.200q: it is among its own mirrors, which %s forbids", m.Source, NeverContactSource))
	}
	return faults
}

// CheckMirrorSets applies the rules of the machine config operator to all mirror
// sets of a cluster together, those of others too: while one breaks a rule, the
// operator changes nothing on any node. It takes more than [CheckMirrors] does,
// as clusters do. All faults are reported, with the objects that have them.
//
// An ImageContentSourcePolicy has no policy, which counts as
// AllowContactingSource, as it does everywhere.
func CheckMirrorSets(sets []MirrorSet) error {
	type says struct{ policy, object string }
	var faults []error
	claims := map[string]says{}
	for _, s := range sets {
		object := s.object()
		for _, m := range s.Mirrors {
			for _, err := range operatorFaults(m) {
				faults = append(faults, fmt.Errorf("%s: %w", object, err))
			}
			now := says{effective(m.Policy), object}
			was, there := claims[m.Source]
			switch {
			case !there:
				claims[m.Source] = now
			case was.policy != now.policy:
				faults = append(faults, fmt.Errorf("source %.200q: %s says %s, %s says %s", m.Source, was.object, was.policy, object, now.policy))
			}
		}
	}
	return errors.Join(faults...)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// MirrorSet is an object that gives a cluster mirrors: all entries of one name
// and kind.
type MirrorSet struct {
	Kind        string // DigestMirrorSet, TagMirrorSet or ContentSourcePolicy
	Name        string // of the object
	Labels      map[string]string
	Annotations map[string]string
	Mirrors     []Mirror
	Comment     string // lines to stand in front, without "#"
}

// form is where the objects of a kind have what a MirrorSet has.
type form struct{ api, field string }

var forms = map[string]form{
	DigestMirrorSet:     {"config.openshift.io/v1", "imageDigestMirrors"},
	TagMirrorSet:        {"config.openshift.io/v1", "imageTagMirrors"},
	ContentSourcePolicy: {"operator.openshift.io/v1alpha1", "repositoryDigestMirrors"},
}

func formOf(kind string) (form, error) {
	f, known := forms[kind]
	if !known {
		return f, fmt.Errorf("it is %s, not an %s, an %s or an %s", article(kind), DigestMirrorSet, TagMirrorSet, ContentSourcePolicy)
	}
	return f, nil
}

// A DNS subdomain by Kubernetes' rules, which is what object names are.
var objectName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$`)

func (s MirrorSet) check() error {
	if err := s.checkHead(); err != nil {
		return err
	}
	return CheckMirrors(s.Mirrors)
}

// checkHead checks all but the entries' own rules.
func (s MirrorSet) checkHead() error {
	if _, err := formOf(s.Kind); err != nil {
		return err
	}
	if len(s.Name) > 253 || !objectName.MatchString(s.Name) {
		return fmt.Errorf("%.80q is not a name of an object", s.Name)
	}
	for _, m := range s.Mirrors {
		if s.Kind == ContentSourcePolicy && m.Policy != "" {
			return fmt.Errorf("source %.200q: it has a policy, which no %s can have", m.Source, s.Kind)
		}
	}
	return checkCounts(s.Mirrors)
}

// sorted returns the entries by source; those of one source, and the mirrors of
// each, stay in their order.
func sorted(mirrors []Mirror) []Mirror {
	mirrors = slices.Clone(mirrors)
	slices.SortStableFunc(mirrors, func(a, b Mirror) int { return strings.Compare(a.Source, b.Source) })
	return mirrors
}

// YAML returns the object, its entries sorted by source. One without entries takes
// from a cluster those that it had. One that a cluster would refuse is an error.
func (s MirrorSet) YAML() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.encode()
}

func (s MirrorSet) encode() ([]byte, error) {
	type metadata struct {
		Annotations map[string]string `json:"annotations,omitempty"`
		Labels      map[string]string `json:"labels,omitempty"`
		Name        string            `json:"name"`
	}
	f, err := formOf(s.Kind)
	if err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": f.api,
		"kind":       s.Kind,
		"metadata":   metadata{s.Annotations, s.Labels, s.Name},
		"spec":       map[string][]Mirror{f.field: append([]Mirror{}, sorted(s.Mirrors)...)},
	})
	if err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return withComment(s.Comment, text), nil
}

// ParseMirrorSet reads one object: what [MirrorSet.YAML] wrote, edited by hand or
// not. Comments, and metadata but the name, are dropped. Fields of the spec that
// the API does not have, and entries that a cluster would refuse, are errors.
func ParseMirrorSet(data []byte) (MirrorSet, error) {
	text, err := single(data)
	if err != nil {
		return MirrorSet{}, err
	}
	set, err := decodeMirrorSet(text)
	if err != nil {
		return MirrorSet{}, err
	}
	set.Labels, set.Annotations = nil, nil
	if err := set.check(); err != nil {
		return MirrorSet{}, err
	}
	return set, nil
}

// decodeMirrorSet reads an object in JSON, entries that no cluster takes too.
func decodeMirrorSet(text []byte) (MirrorSet, error) {
	var object struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name        string            `json:"name"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
		Spec json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return MirrorSet{}, errors.New("it is not a Kubernetes object")
	}
	f, err := formOf(object.Kind)
	if err != nil {
		return MirrorSet{}, err
	}
	if object.APIVersion != f.api {
		return MirrorSet{}, fmt.Errorf("it is an %s of %.80q, not of %q", object.Kind, object.APIVersion, f.api)
	}
	mirrors, err := specMirrors(object.Spec, f.field)
	if err != nil {
		return MirrorSet{}, err
	}
	m := object.Metadata
	set := MirrorSet{Kind: object.Kind, Name: m.Name, Labels: m.Labels, Annotations: m.Annotations, Mirrors: mirrors}
	return set, set.checkHead()
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

// Limits of mirror sets. A cluster with all operators has a few hundred sources.
const (
	MaxSources = 10_000 // in all objects of a cluster together
	MaxMirrors = 1_000  // of one source
)

func checkCounts(mirrors []Mirror) error {
	if len(mirrors) > MaxSources || slices.ContainsFunc(mirrors, func(m Mirror) bool { return len(m.Mirrors) > MaxMirrors }) {
		return fmt.Errorf("it holds more than %d sources, or %d mirrors of one", MaxSources, MaxMirrors)
	}
	return nil
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
