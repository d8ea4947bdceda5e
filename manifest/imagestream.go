package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Limits of what [ParseImageStreams] reads. A cluster's own have about 60
// streams and 300 tags.
const (
	MaxStreams = 10_000
	MaxTags    = 100_000 // of all streams together
)

// ManagedLabel marks an imagestream that the samples operator owns. Its value
// is "true", or "false" once the stream is skipped (openshift/api, samples/v1).
const ManagedLabel = "samples.operator.openshift.io/managed"

// SamplesConfigMap is the ConfigMap in which the samples operator lists the
// images of its streams (samples operator, buildFileMaps).
const SamplesConfigMap = "imagestreamtag-to-image"

// jenkinsStreams are the streams that the samples operator creates but leaves
// out of [SamplesConfigMap] (samples operator, buildFileMaps).
var jenkinsStreams = []string{"jenkins", "jenkins-agent-base"}

// ImageStreams is what [ParseImageStreams] found.
type ImageStreams struct {
	Streams []ImageStream // sorted by name, names unique

	// Complete says that all streams of the samples operator are among
	// Streams. That is so for a List that holds at least one of them and for
	// the ConfigMap.
	Complete bool
}

// ImageStream is a set of images under one name.
type ImageStream struct {
	Name    string
	Managed bool    // the samples operator owns it
	Tags    []Tag   // sorted by name, names unique; only those that name an image
	Aliases []Alias // sorted by name; tags that follow another of the stream

	// Repository is spec.dockerImageRepository: a cluster imports whatever tags
	// it has. "" if there is none.
	Repository string
}

// Tag is one image of an imagestream.
type Tag struct {
	Name string
	From string // the image reference, exactly as written
}

// Alias is a tag of an imagestream that follows another one.
type Alias struct {
	Name string
	Tag  string // in Tags, where a chain of aliases ends
}

// ParseImageStreams reads imagestreams from JSON or YAML, of several documents
// too. A document is an ImageStream, a List of them (`oc get imagestreams
// --output json`) or the ConfigMap imagestreamtag-to-image. Anything else is an
// error that says what it is.
//
// A tag that follows something outside of its stream, or nothing, is left out.
// The same stream may occur twice only if both say the same. The ConfigMap
// leaves out the jenkins streams; they are added without tags.
func ParseImageStreams(data []byte) (ImageStreams, error) {
	docs, err := documents(data)
	if err != nil {
		return ImageStreams{}, err
	}
	c := collector{streams: map[string]ImageStream{}}
	for i, doc := range docs {
		subject := "it"
		if len(docs) > 1 {
			subject = fmt.Sprintf("document %d", i+1)
		}
		if err := c.document(subject, doc); err != nil {
			return ImageStreams{}, err
		}
	}
	return c.result()
}

type collector struct {
	streams   map[string]ImageStream
	tags      int
	complete  bool
	configMap bool
}

func (c *collector) document(subject string, doc []byte) error {
	text, err := toJSON(doc)
	if err != nil {
		return within(subject, err)
	}
	var head header
	if err := json.Unmarshal(text, &head); err != nil {
		return fmt.Errorf("%s is not a Kubernetes object", subject)
	}
	switch head.Kind {
	case "List", "ImageStreamList":
		return c.list(subject, head, text)
	case "ConfigMap":
		if head.Metadata.Name == SamplesConfigMap {
			return c.entries(subject, text)
		}
		return fmt.Errorf("%s is the ConfigMap %.80q, not %s", subject, head.Metadata.Name, wanted)
	}
	s, err := parseStream(subject, text, "")
	if err != nil {
		return err
	}
	return within(subject, c.add(s))
}

const wanted = "an ImageStream, a List of them or the imagestreamtag-to-image ConfigMap"

// within adds the document to an error if there are several.
func within(subject string, err error) error {
	if subject == "it" || err == nil {
		return err
	}
	return fmt.Errorf("%s: %w", subject, err)
}

// list adds the items of a List. Those of an ImageStreamList need no kind.
func (c *collector) list(subject string, head header, text []byte) error {
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return within(subject, fmt.Errorf("decode %s: %w", head.Kind, err))
	}
	implied := ""
	if head.Kind == "ImageStreamList" {
		implied = "ImageStream"
	}
	for i, item := range list.Items {
		name := fmt.Sprintf("item %d", i+1)
		if subject != "it" {
			name += " of " + subject
		}
		s, err := parseStream(name, item, implied)
		if err != nil {
			return err
		}
		if err := c.add(s); err != nil {
			return within(subject, err)
		}
		c.complete = c.complete || s.Managed
	}
	return nil
}

// parseStream reads one ImageStream. An object without a kind is of the implied one.
func parseStream(subject string, text []byte, implied string) (ImageStream, error) {
	var object struct {
		header
		Spec imageStreamSpec `json:"spec"`
	}
	if err := json.Unmarshal(text, &object.header); err != nil {
		return ImageStream{}, fmt.Errorf("%s is not a Kubernetes object", subject)
	}
	if object.Kind == "" && implied != "" {
		object.Kind, object.APIVersion = implied, imageAPI
	}
	if object.Kind != "ImageStream" {
		return ImageStream{}, fmt.Errorf("%s is %s, not %s", subject, article(object.Kind), wanted)
	}
	if object.APIVersion != imageAPI && object.APIVersion != "v1" {
		return ImageStream{}, fmt.Errorf("%s is an ImageStream of %.80q, not of %q", subject, object.APIVersion, imageAPI)
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return ImageStream{}, within(subject, fmt.Errorf("decode ImageStream: %w", err))
	}
	s := ImageStream{Name: object.Metadata.Name, Managed: isManaged(object.header), Repository: object.Spec.Repository}
	follows := map[string]string{}
	for _, tag := range object.Spec.Tags {
		switch {
		case tag.From == nil:
		case tag.From.Kind == dockerImage:
			s.Tags = append(s.Tags, Tag{Name: tag.Name, From: tag.From.Name})
		case tag.From.Kind == imageStreamTag && tag.From.Namespace == "":
			follows[tag.Name] = strings.TrimPrefix(tag.From.Name, s.Name+":")
		}
	}
	s.Aliases = followed(follows, s.Tags)
	return s, nil
}

// followed follows each tag that follows another to one that names an image.
func followed(follows map[string]string, tags []Tag) []Alias {
	var all []Alias
	for _, name := range slices.Sorted(maps.Keys(follows)) {
		end := follows[name]
		for range follows { // a chain has no more links, unless it is a circle
			if next, more := follows[end]; more {
				end = next
			}
		}
		if slices.ContainsFunc(tags, func(t Tag) bool { return t.Name == end }) {
			all = append(all, Alias{name, end})
		}
	}
	return all
}

func isManaged(head header) bool {
	_, found := head.Metadata.Labels[ManagedLabel]
	return found
}

// entries adds the streams of the ConfigMap, whose keys are <stream>_<tag>. No
// stream of the samples operator has an underscore in its name; tags may.
func (c *collector) entries(subject string, text []byte) error {
	var object struct {
		Data map[string]string `json:"data"`
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return within(subject, fmt.Errorf("decode ConfigMap: %w", err))
	}
	if len(object.Data) == 0 {
		return within(subject, errors.New("the ConfigMap imagestreamtag-to-image has no entries"))
	}
	streams := map[string]ImageStream{}
	for _, key := range slices.Sorted(maps.Keys(object.Data)) {
		name, tag, found := strings.Cut(key, "_")
		if !found {
			return within(subject, fmt.Errorf("key %.80q is not an imagestream and a tag", key))
		}
		s := streams[name]
		s.Name, s.Managed = name, true
		s.Tags = append(s.Tags, Tag{Name: tag, From: object.Data[key]})
		streams[name] = s
	}
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		if err := c.add(streams[name]); err != nil {
			return within(subject, err)
		}
	}
	c.complete, c.configMap = true, true
	return nil
}

var streamName = regexp.MustCompile(`^[0-9A-Za-z](?:[0-9A-Za-z._-]{0,251}[0-9A-Za-z])?$`)

// add checks a stream, sorts its tags and keeps it.
func (c *collector) add(s ImageStream) error {
	if !streamName.MatchString(s.Name) {
		return fmt.Errorf("%.80q is not a name of an imagestream", s.Name)
	}
	tags, err := sortedTags(s.Tags)
	if err != nil {
		return fmt.Errorf("imagestream %s: %w", s.Name, err)
	}
	s.Tags = tags
	if err := checkAliases(s); err != nil {
		return fmt.Errorf("imagestream %s: %w", s.Name, err)
	}
	if held, found := c.streams[s.Name]; found && !sameStream(held, s) {
		return fmt.Errorf("imagestream %s is there twice, and the two differ", s.Name)
	}
	c.streams[s.Name] = s
	c.tags += len(s.Tags)
	if len(c.streams) > MaxStreams || c.tags > MaxTags {
		return fmt.Errorf("it holds more than %d imagestreams or %d tags", MaxStreams, MaxTags)
	}
	return nil
}

func sameStream(a, b ImageStream) bool {
	return a.Managed == b.Managed && slices.Equal(a.Tags, b.Tags) && slices.Equal(a.Aliases, b.Aliases) && a.Repository == b.Repository
}

// checkAliases checks what a stream has beside its tags.
func checkAliases(s ImageStream) error {
	for _, alias := range s.Aliases {
		if !printable(alias.Name, 253) {
			return fmt.Errorf("%.80q is not a name of a tag", alias.Name)
		}
		if slices.ContainsFunc(s.Tags, func(t Tag) bool { return t.Name == alias.Name }) {
			return fmt.Errorf("tag %s is there twice, and the two differ", alias.Name)
		}
	}
	if s.Repository != "" && !printable(s.Repository, maxReference) {
		return fmt.Errorf("its dockerImageRepository %.80q is not a repository", s.Repository)
	}
	return nil
}

// sortedTags checks tags and returns them sorted, equal ones once.
func sortedTags(tags []Tag) ([]Tag, error) {
	tags = slices.Clone(tags)
	slices.SortFunc(tags, func(a, b Tag) int {
		return strings.Compare(a.Name+"\x00"+a.From, b.Name+"\x00"+b.From)
	})
	tags = slices.Compact(tags)
	for i, tag := range tags {
		if !printable(tag.Name, 253) {
			return nil, fmt.Errorf("%.80q is not a name of a tag", tag.Name)
		}
		if !printable(tag.From, maxReference) {
			return nil, fmt.Errorf("tag %s: %.80q is not an image reference", tag.Name, tag.From)
		}
		if i > 0 && tags[i-1].Name == tag.Name {
			return nil, fmt.Errorf("tag %s is there twice, and the two differ", tag.Name)
		}
	}
	return tags, nil
}

func (c *collector) result() (ImageStreams, error) {
	if len(c.streams) == 0 {
		return ImageStreams{}, errors.New("it holds no imagestreams")
	}
	if c.configMap {
		for _, name := range jenkinsStreams {
			if _, found := c.streams[name]; !found {
				c.streams[name] = ImageStream{Name: name, Managed: true}
			}
		}
	}
	result := ImageStreams{Complete: c.complete}
	for _, name := range slices.Sorted(maps.Keys(c.streams)) {
		result.Streams = append(result.Streams, c.streams[name])
	}
	return result, nil
}
