package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// SampleFiles are patterns of the paths at which the image of the samples
// operator has its files: imagestreams and templates, for each architecture and
// product (Dockerfile and processFiles of the samples operator).
var SampleFiles = []string{samplesRoot + "*/*/imagestreams/*.json", samplesRoot + "*/*/templates/*.json"}

const samplesRoot = "opt/openshift/operator/"

// Samples is what the samples operator of a release creates on an architecture.
type Samples struct {
	Architecture string        // as release payloads name it
	Streams      []ImageStream // sorted by name, names unique, all managed
	Templates    []Template    // sorted by name, names unique
}

// SampleArchitectures lists the architectures for which the files of a samples
// operator hold anything, sorted.
func SampleArchitectures(files map[string][]byte) []string {
	found := map[string]bool{}
	for p := range files {
		found[sampleFile(p)[0]] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// ParseSamples reads what the samples operator creates on an architecture. files
// are those that [SampleFiles] matches, by their paths. Of two streams with one
// name the later counts, by the order of products and then of file names: so the
// operator has it, and likewise of templates. A file that is no ImageStream, or
// no Template, is an error: the operator would create nothing at all.
func ParseSamples(files map[string][]byte, architecture string) (Samples, error) {
	streams, templates := collector{streams: map[string]ImageStream{}}, map[string]Template{}
	paths := slices.SortedFunc(maps.Keys(files), func(a, b string) int { return slices.Compare(sampleFile(a), sampleFile(b)) })
	for _, p := range paths {
		at := sampleFile(p)
		if at[0] != architecture {
			continue
		}
		var err error
		if at[2] == "imagestreams" {
			err = streams.sample(files[p])
		} else {
			err = addTemplate(templates, files[p])
		}
		if err != nil {
			return Samples{}, fmt.Errorf("parse %s: %w", p, err)
		}
	}
	if len(streams.streams) == 0 {
		return Samples{}, fmt.Errorf("it has no samples for %s, only for %s", architecture, strings.Join(SampleArchitectures(files), ", "))
	}
	s := Samples{Architecture: architecture}
	for _, name := range slices.Sorted(maps.Keys(streams.streams)) {
		s.Streams = append(s.Streams, streams.streams[name])
	}
	for _, name := range slices.Sorted(maps.Keys(templates)) {
		s.Templates = append(s.Templates, templates[name])
	}
	return s, nil
}

// sampleFile takes a path apart: architecture, product, kind and name.
func sampleFile(p string) []string { return strings.Split(strings.TrimPrefix(p, samplesRoot), "/") }

// sample adds a stream in the place of one that has its name.
func (c *collector) sample(data []byte) error {
	if err := checkSize(data); err != nil {
		return err
	}
	s, err := parseStream("it", data, "")
	if err != nil {
		return err
	}
	s.Managed = true
	delete(c.streams, s.Name)
	return c.add(s)
}

func checkSize(data []byte) error {
	if len(data) > MaxInput {
		return fmt.Errorf("it is larger than %d bytes", MaxInput)
	}
	return nil
}

func addTemplate(templates map[string]Template, data []byte) error {
	if err := checkSize(data); err != nil {
		return err
	}
	t, err := parseTemplate(data)
	if err != nil {
		return err
	}
	templates[t.Name] = t
	if len(templates) > MaxStreams {
		return fmt.Errorf("more than %d templates", MaxStreams)
	}
	return nil
}

// Template is what a template of the samples operator needs to be of use, with
// the values that its parameters have when nobody sets others.
type Template struct {
	Name   string
	Images []string    // references that nodes pull as they are; sorted
	Tags   []StreamTag // of the operator's streams; sorted
}

// StreamTag names a tag of an imagestream.
type StreamTag struct{ Stream, Tag string }

func (t StreamTag) String() string { return t.Stream + ":" + t.Tag }

const (
	templateAPI      = "template.openshift.io/v1"
	samplesNamespace = "openshift" // where the operator's streams are
	internalRegistry = "image-registry.openshift-image-registry.svc:5000/"
	triggers         = "image.openshift.io/triggers" // an annotation with JSON in it
)

func parseTemplate(data []byte) (Template, error) {
	var object struct {
		header
		Objects    []any       `json:"objects"`
		Parameters []parameter `json:"parameters"`
	}
	if err := json.Unmarshal(data, &object.header); err != nil {
		return Template{}, errors.New("it is not a Kubernetes object")
	}
	if object.Kind != "Template" || object.APIVersion != templateAPI && object.APIVersion != "v1" {
		return Template{}, fmt.Errorf("it is %s of %.80q, not a Template of %q", article(object.Kind), object.APIVersion, templateAPI)
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return Template{}, fmt.Errorf("decode Template: %w", err)
	}
	if !streamName.MatchString(object.Metadata.Name) {
		return Template{}, fmt.Errorf("%.80q is not a name of a template", object.Metadata.Name)
	}
	n := needs{values: values(object.Parameters), images: map[string]bool{}, tags: map[StreamTag]bool{}}
	n.look(object.Objects)
	return Template{
		Name: object.Metadata.Name, Images: slices.Sorted(maps.Keys(n.images)),
		Tags: slices.SortedFunc(maps.Keys(n.tags), func(a, b StreamTag) int { return strings.Compare(a.String(), b.String()) }),
	}, nil
}

type parameter struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// values puts the values of parameters into texts; those that are longer than a
// reference can be are none.
func values(parameters []parameter) *strings.Replacer {
	var pairs []string
	for _, p := range parameters {
		if p.Value != "" && len(p.Value) <= maxReference {
			pairs = append(pairs, "${"+p.Name+"}", p.Value)
		}
	}
	return strings.NewReplacer(pairs...)
}

// needs collects what the objects of a template need.
type needs struct {
	values *strings.Replacer // of parameters
	images map[string]bool
	tags   map[StreamTag]bool
}

// look goes through an object, to containers and to what builds, tags and
// triggers start from.
func (n needs) look(value any) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			n.look(item)
		}
	case map[string]any:
		for key, item := range v {
			n.field(key, item)
		}
	}
}

func (n needs) field(key string, value any) {
	switch key {
	case "containers", "initContainers":
		list, _ := value.([]any)
		for _, item := range list {
			container, _ := item.(map[string]any)
			n.image(n.text(container["image"]))
		}
	case "from":
		from, _ := value.(map[string]any)
		n.source(n.text(from["kind"]), n.text(from["name"]), n.text(from["namespace"]))
	case triggers:
		var list any
		if json.Unmarshal([]byte(n.text(value)), &list) == nil {
			n.look(list)
		}
	}
	n.look(value)
}

// maxTemplateText is the longest string, in bytes, in which parameters are
// looked for: a reference or some triggers. Their values may blow it up.
const maxTemplateText = 64 << 10

// text is a string with the values of parameters in it.
func (n needs) text(value any) string {
	s, _ := value.(string)
	if len(s) > maxTemplateText {
		return ""
	}
	return strings.TrimSpace(n.values.Replace(s))
}

// source notes what something starts from. A tag without a namespace is one of
// the project that the template is used in.
func (n needs) source(kind, name, namespace string) {
	switch {
	case kind == dockerImage:
		n.image(name)
	case kind == imageStreamTag && namespace == samplesNamespace:
		n.tag(name)
	}
}

func (n needs) tag(name string) {
	if stream, tag, found := strings.Cut(name, ":"); found && streamName.MatchString(stream) && printable(tag, 253) {
		n.tags[StreamTag{stream, tag}] = true
	}
}

// image notes the image of a container. A name without a registry is a
// placeholder that a trigger replaces; one with a parameter that has no value is
// for whoever uses the template to say.
func (n needs) image(name string) {
	if local, found := strings.CutPrefix(name, internalRegistry); found {
		if stream, found := strings.CutPrefix(local, samplesNamespace+"/"); found {
			n.tag(stream)
		}
		return
	}
	host, _, found := strings.Cut(name, "/")
	if found && (strings.ContainsAny(host, ".:") || host == "localhost") && !strings.Contains(name, "${") && printable(name, maxReference) {
		n.images[name] = true
	}
}
