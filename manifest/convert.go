package manifest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// lastApplied holds an object as oc applied it; it is of no use to another object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Converted is an object that was made of another.
type Converted struct {
	Name string // of both
	YAML []byte
}

// ConvertPolicies makes of the ImageContentSourcePolicies in a file, however
// [ParseMirrorSets] finds them, objects of another kind, DigestMirrorSet or
// TagMirrorSet, as `oc adm migrate icsp` does: names, labels, annotations, sources
// and mirrors stay, and there are no policies. They are in the order of the input.
//
// Unlike that command it takes several documents and sorts sources; it leaves out
// a mirror that is there twice, which the API of mirror sets refuses, and what oc
// noted about the old object; and it fails on what no cluster would take.
func ConvertPolicies(data []byte, kind string) ([]Converted, error) {
	policies, err := ParseMirrorSets(data)
	if err != nil {
		return nil, err
	}
	if len(policies) == 0 {
		return nil, fmt.Errorf("it holds no %s", ContentSourcePolicy)
	}
	var all []Converted
	for _, policy := range policies {
		if policy.Kind != ContentSourcePolicy {
			return nil, fmt.Errorf("it holds the %s, which is no %s", policy.object(), ContentSourcePolicy)
		}
		text, err := policy.converted(kind)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", policy.object(), err)
		}
		all = append(all, Converted{policy.Name, text})
	}
	return all, nil
}

func (s MirrorSet) converted(kind string) ([]byte, error) {
	s.Kind = kind
	s.Annotations = maps.Clone(s.Annotations)
	delete(s.Annotations, lastApplied)
	var faults []error
	s.Mirrors = slices.Clone(s.Mirrors)
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		m.Mirrors = once(m.Mirrors)
		faults = append(faults, operatorFaults(*m)...)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return s.encode()
}

// once is a list without what is in it before.
func once(list []string) []string {
	var all []string
	for _, s := range list {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
