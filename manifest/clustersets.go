package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ParseMirrorSets reads the mirror sets of a cluster from JSON or YAML, of
// several documents too: ImageDigestMirrorSets, ImageTagMirrorSets and
// ImageContentSourcePolicies, by themselves or in Lists (`oc get
// idms,itms,imagecontentsourcepolicy --output yaml`). The result has them in the
// order of the input. Any other object, and fields of a spec that the API does
// not have, are errors; what entries say is not judged: see [CheckMirrorSets].
//
// Keys that repeat are taken as clusters take them: the last one counts.
func ParseMirrorSets(data []byte) ([]MirrorSet, error) {
	docs, err := documents(data)
	if err != nil {
		return nil, err
	}
	var sets []MirrorSet
	sources := 0
	for i, doc := range docs {
		subject := "it"
		if len(docs) > 1 {
			subject = fmt.Sprintf("document %d", i+1)
		}
		found, err := mirrorSetsOf(doc)
		if err != nil {
			return nil, within(subject, err)
		}
		for _, set := range found {
			sources += len(set.Mirrors)
		}
		if sets = append(sets, found...); sources > MaxSources {
			return nil, fmt.Errorf("it holds more than %d sources", MaxSources)
		}
	}
	return sets, nil
}

// mirrorSetsOf reads one document, which may be a List.
func mirrorSetsOf(doc []byte) ([]MirrorSet, error) {
	text, err := toJSON(doc)
	if err != nil {
		return nil, err
	}
	var list struct {
		Kind  string            `json:"kind"`
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, errors.New("it is not a Kubernetes object")
	}
	implied, isList := strings.CutSuffix(list.Kind, "List")
	if !isList {
		list.Items = []json.RawMessage{text}
	}
	var sets []MirrorSet
	for i, item := range list.Items {
		if implied != "" && isList {
			if item, err = withKind(item, implied); err != nil {
				return nil, within(fmt.Sprintf("item %d", i+1), err)
			}
		}
		set, err := decodeMirrorSet(item)
		if err != nil && isList {
			return nil, within(fmt.Sprintf("item %d", i+1), err)
		}
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// withKind gives an item of a typed list its kind, which it need not have.
func withKind(item []byte, kind string) ([]byte, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(item, &object); err != nil || object == nil {
		return nil, errors.New("it is not a Kubernetes object")
	}
	f, err := formOf(kind)
	if err != nil {
		return nil, err
	}
	for key, value := range map[string]string{"kind": kind, "apiVersion": f.api} {
		if object[key] == nil {
			object[key], _ = json.Marshal(value)
		}
	}
	return json.Marshal(object)
}
