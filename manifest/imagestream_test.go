package manifest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

func parseStreams(t *testing.T, data []byte) ImageStreams {
	t.Helper()
	streams, err := ParseImageStreams(data)
	if err != nil {
		t.Fatal(err)
	}
	return streams
}

func streamNames(streams []ImageStream, managed bool) []string {
	names := []string{}
	for _, s := range streams {
		if s.Managed == managed {
			names = append(names, s.Name)
		}
	}
	return names
}

func countTags(streams []ImageStream) int {
	n := 0
	for _, s := range streams {
		n += len(s.Tags)
	}
	return n
}

func TestClusterList(t *testing.T) {
	list := clusterStreams(t)
	got := parseStreams(t, asJSON(t, list))
	if !got.Complete {
		t.Error("a List with managed streams is not complete")
	}
	if n := len(streamNames(got.Streams, true)); n != 50 {
		t.Errorf("%d managed streams, want 50", n)
	}
	want := []string{"cli", "custom", "installer", "must-gather"}
	if diff := cmp.Diff(want, streamNames(got.Streams, false)); diff != "" {
		t.Errorf("streams that nobody manages (-want +got):\n%s", diff)
	}
	if n := countTags(got.Streams); n != 271+4 {
		t.Errorf("%d tags, want 275", n)
	}
	if !slices.IsSortedFunc(got.Streams, func(a, b ImageStream) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("streams are not sorted")
	}
	if diff := cmp.Diff(got, parseStreams(t, asYAML(t, list))); diff != "" {
		t.Errorf("YAML says something else (-JSON +YAML):\n%s", diff)
	}
	list["kind"], list["apiVersion"] = "ImageStreamList", "image.openshift.io/v1"
	for _, item := range list["items"].([]object) {
		delete(item, "kind")
		delete(item, "apiVersion")
	}
	if diff := cmp.Diff(got, parseStreams(t, asJSON(t, list))); diff != "" {
		t.Errorf("an ImageStreamList says something else (-List +ImageStreamList):\n%s", diff)
	}
}

func TestConfigMap(t *testing.T) {
	got := parseStreams(t, asYAML(t, samplesConfigMap(t)))
	if !got.Complete {
		t.Error("the ConfigMap is not complete")
	}
	full := parseStreams(t, asJSON(t, clusterStreams(t)))
	if diff := cmp.Diff(streamNames(full.Streams, true), streamNames(got.Streams, true)); diff != "" {
		t.Errorf("streams differ from the List's (-List +ConfigMap):\n%s", diff)
	}
	if n := countTags(got.Streams); n != 265 {
		t.Errorf("%d tags, want 265", n)
	}
	for _, s := range got.Streams {
		i := slices.IndexFunc(full.Streams, func(o ImageStream) bool { return o.Name == s.Name })
		if strings.HasPrefix(s.Name, "jenkins") {
			if len(s.Tags) != 0 {
				t.Errorf("%s has tags: %v", s.Name, s.Tags)
			}
			continue
		}
		if diff := cmp.Diff(full.Streams[i], s); diff != "" {
			t.Errorf("%s (-List +ConfigMap):\n%s", s.Name, diff)
		}
	}
}

func TestConfigMapKeys(t *testing.T) {
	const head = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: imagestreamtag-to-image}\n"
	got := parseStreams(t, []byte(head+"data:\n  ruby_3.1_ubi8: quay.io/a/ruby\n  ruby_2: quay.io/a/ruby:2\n"))
	want := []ImageStream{
		{Name: "jenkins", Managed: true},
		{Name: "jenkins-agent-base", Managed: true},
		{Name: "ruby", Managed: true, Tags: []Tag{{"2", "quay.io/a/ruby:2"}, {"3.1_ubi8", "quay.io/a/ruby"}}},
	}
	if diff := cmp.Diff(want, got.Streams); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for data, want := range map[string]string{
		"":                              "has no entries",
		"data: {}":                      "has no entries",
		"data: {ruby: quay.io/a/b}":     `key "ruby" is not an imagestream and a tag`,
		"data: {ruby_: quay.io/a/b}":    "is not a name of a tag",
		"data: {_1: quay.io/a/b}":       "is not a name of an imagestream",
		"data: {ruby_1: ''}":            "is not an image reference",
		"data: {ruby_1: [quay.io/a/b]}": "decode ConfigMap",
	} {
		_, err := ParseImageStreams([]byte(head + data))
		wantError(t, err, want)
	}
}

func TestOneStream(t *testing.T) {
	const in = `
kind: ImageStream
apiVersion: image.openshift.io/v1
metadata:
  name: tools
  labels: {samples.operator.openshift.io/managed: "false"}
spec:
  tags:
  - {name: "2", from: {kind: DockerImage, name: registry.access.redhat.com/ubi9/dotnet-100-aspnet}}
  - {name: latest, from: {kind: ImageStreamTag, name: "2"}}
  - {name: image, from: {kind: ImageStreamImage, name: "tools@sha256:00"}}
  - {name: none}
  - {name: "1", from: {kind: DockerImage, name: "quay.io/a/B:1@sha256:00"}}
`
	got := parseStreams(t, []byte(in))
	want := ImageStreams{Streams: []ImageStream{{Name: "tools", Managed: true, Tags: []Tag{
		{"1", "quay.io/a/B:1@sha256:00"},
		{"2", "registry.access.redhat.com/ubi9/dotnet-100-aspnet"},
	}, Aliases: []Alias{{"latest", "2"}}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Tags that follow others are followed to the tag that names an image, within the
// stream.
func TestAliases(t *testing.T) {
	stream := func(name, from string) string {
		return "{name: " + name + ", from: {kind: ImageStreamTag, " + from + "}}"
	}
	const head = "kind: ImageStream\napiVersion: image.openshift.io/v1\nmetadata: {name: ruby}\nspec:\n  dockerImageRepository: quay.io/a/ruby\n  tags:\n  - {name: \"3\", from: {kind: DockerImage, name: quay.io/a/ruby:3}}\n"
	for tags, want := range map[string][]Alias{
		stream("latest", "name: '3'"):      {{"latest", "3"}},
		stream("latest", "name: 'ruby:3'"): {{"latest", "3"}},
		stream("latest", "name: middle") + "\n  - " + stream("middle", "name: 'ruby:3'"): {{"latest", "3"}, {"middle", "3"}},
		stream("latest", "name: '4'"):                              nil,
		stream("latest", "name: 'php:3'"):                          nil,
		stream("latest", "name: '3', namespace: team"):             nil,
		stream("latest", "name: latest"):                           nil,
		stream("a", "name: b") + "\n  - " + stream("b", "name: a"): nil,
	} {
		got := parseStreams(t, []byte(head+"  - "+tags+"\n"))
		want := ImageStreams{Streams: []ImageStream{{Name: "ruby", Tags: []Tag{{"3", "quay.io/a/ruby:3"}}, Aliases: want, Repository: "quay.io/a/ruby"}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tags, diff)
		}
	}
	for spec, want := range map[string]string{
		head + "  - " + stream("'3'", "name: '3'"):                                                   "tag 3 is there twice",
		head + "  - " + stream("'a b'", "name: '3'"):                                                 "is not a name of a tag",
		"kind: ImageStream\napiVersion: v1\nmetadata: {name: a}\nspec: {dockerImageRepository: a b}": "dockerImageRepository",
	} {
		_, err := ParseImageStreams([]byte(spec))
		wantError(t, err, want)
	}
}

// A ConfigMap does not hide the jenkins streams that another document has.
func TestConfigMapAndJenkins(t *testing.T) {
	jenkins := streamObject("jenkins", managedLabels, "2", "registry.redhat.io/a/jenkins:1")
	got := parseStreams(t, slices.Concat(asYAML(t, samplesConfigMap(t)), []byte("---\n"), asYAML(t, jenkins)))
	i := slices.IndexFunc(got.Streams, func(s ImageStream) bool { return s.Name == "jenkins" })
	want := ImageStream{Name: "jenkins", Managed: true, Tags: []Tag{{"2", "registry.redhat.io/a/jenkins:1"}}}
	if diff := cmp.Diff(want, got.Streams[i]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEqualTags(t *testing.T) {
	got := parseStreams(t, asJSON(t, streamObject("a", nil, "1", "q/a/b:1", "1", "q/a/b:1")))
	if diff := cmp.Diff([]Tag{{"1", "q/a/b:1"}}, got.Streams[0].Tags); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnmanagedList(t *testing.T) {
	got := parseStreams(t, asJSON(t, listObject(streamObject("cli", nil, "latest", "quay.io/a/cli:1"))))
	if got.Complete || got.Streams[0].Managed {
		t.Errorf("got %+v: a List of others' streams says nothing about the samples operator's", got)
	}
}

// Documents of every kind may stand in one file, as `cat` puts them together.
func TestDocuments(t *testing.T) {
	stream := func(name string) string {
		return string(asYAML(t, streamObject(name, nil, "1", "quay.io/a/"+name+":1")))
	}
	for name, in := range map[string]string{
		"plain":        stream("a") + "---\n" + stream("b"),
		"first marker": "---\n" + stream("a") + "---\n" + stream("b"),
		"comments":     "# first\n--- # second\n# third\n---\n" + stream("a") + "\n---   \n" + stream("b") + "---\n",
		"ends":         stream("a") + "...\n---\n" + stream("b") + "...\n",
		"directive":    "%YAML 1.1\n---\n" + stream("a") + "---\n" + stream("b"),
		"on the line":  "--- " + strings.TrimSpace(string(asJSON(t, streamObject("a", nil, "1", "quay.io/a/a:1")))) + "\n---\n" + stream("b"),
		"CRLF":         strings.ReplaceAll(stream("a")+"---\n"+stream("b"), "\n", "\r\n"),
		"CR":           strings.ReplaceAll(stream("a")+"---\n"+stream("b"), "\n", "\r"),
		"equal twice":  stream("a") + "---\n" + stream("b") + "---\n" + stream("a"),
		"BOM":          "\ufeff" + stream("a") + "---\n" + stream("b"),
		"UTF-16":       utf16Text(stream("a")+"---\n"+stream("b"), binary.LittleEndian),
		"UTF-16 BE":    utf16Text(stream("a")+"---\n"+stream("b"), binary.BigEndian),
		"UTF-16 JSON":  utf16Text(string(asJSON(t, listObject(streamObject("a", nil, "1", "quay.io/a/a:1"), streamObject("b", nil, "1", "quay.io/a/b:1")))), binary.LittleEndian),
		"with a List":  stream("a") + "---\n" + string(asYAML(t, listObject(streamObject("b", nil, "1", "quay.io/a/b:1")))),
	} {
		t.Run(name, func(t *testing.T) {
			got := parseStreams(t, []byte(in))
			want := []ImageStream{{Name: "a", Tags: []Tag{{"1", "quay.io/a/a:1"}}}, {Name: "b", Tags: []Tag{{"1", "quay.io/a/b:1"}}}}
			if diff := cmp.Diff(want, got.Streams); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func utf16Text(s string, order binary.ByteOrder) string {
	var out []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + s)) {
		var pair [2]byte
		order.PutUint16(pair[:], unit)
		out = append(out, pair[:]...)
	}
	return string(out)
}

func TestBadImageStreams(t *testing.T) {
	const wanted = ", not an ImageStream, a List of them or the imagestreamtag-to-image ConfigMap"
	text := func(o object) string { return string(asYAML(t, o)) }
	ruby := streamObject("ruby", nil, "1", "quay.io/a/ruby:1")
	other := streamObject("ruby", nil, "1", "quay.io/a/ruby:2")
	managed := streamObject("ruby", managedLabels, "1", "quay.io/a/ruby:1")
	deployment := object{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": object{"name": "web"}, "spec": object{"tags": 3}}
	foreign := streamObject("ruby", nil)
	foreign["apiVersion"] = "image.example/v1"
	for name, test := range map[string]struct{ in, want string }{
		"deployment":       {text(deployment), "it is a Deployment" + wanted},
		"ingress":          {"kind: Ingress", "it is an Ingress" + wanted},
		"strange kind":     {`kind: "a\nb"`, `it is a "a\nb"` + wanted},
		"no kind":          {"apiVersion: v1", "it is an object without a kind" + wanted},
		"other ConfigMap":  {"kind: ConfigMap\nmetadata: {name: other}", `it is the ConfigMap "other"` + wanted},
		"other group":      {text(foreign), `it is an ImageStream of "image.example/v1"`},
		"empty":            {"", "it is empty"},
		"only space":       {" \n\t\n", "it is empty"},
		"only comments":    {"# nothing\n---\n---\n# here\n", "it is empty"},
		"empty List":       {text(listObject()), "it holds no imagestreams"},
		"not YAML":         {"{", "decode YAML"},
		"binary":           {"\x7fELF\x02\x01\x01\x00", "decode YAML"},
		"text":             {"hello", "it is not a Kubernetes object"},
		"array":            {"[]", "it is not a Kubernetes object"},
		"null":             {"null", "it is an object without a kind"},
		"number":           {"3", "it is not a Kubernetes object"},
		"JSON lines":       {"{\"kind\":\"ImageStream\"}\n{\"kind\":\"ImageStream\"}\n", "something follows the end of the object"},
		"less indented":    {"  kind: ImageStream\nkind: List\n", "something follows the end of the object"},
		"after NEL":        {text(ruby) + "# \u0085---\nkind: Pod", "something follows the end of the object"},
		"pod in List":      {text(listObject(ruby, object{"kind": "Pod"})), "item 2 is a Pod" + wanted},
		"List in List":     {text(listObject(listObject(ruby))), "item 1 is a List" + wanted},
		"no kind in List":  {text(listObject(object{"metadata": object{"name": "a"}})), "item 1 is an object without a kind" + wanted},
		"text in List":     {"kind: List\nitems: [a]", "item 1 is not a Kubernetes object"},
		"items no list":    {"kind: List\nitems: 3", "decode List"},
		"second document":  {text(ruby) + "---\n" + text(deployment), "document 2 is a Deployment" + wanted},
		"second YAML":      {text(ruby) + "---\n}", "document 2: decode YAML"},
		"second List":      {text(ruby) + "---\n" + text(listObject(deployment)), "item 1 of document 2 is a Deployment" + wanted},
		"twice in List":    {text(listObject(ruby, other)), "imagestream ruby is there twice, and the two differ"},
		"twice by label":   {text(listObject(ruby, managed)), "imagestream ruby is there twice, and the two differ"},
		"twice in stream":  {text(ruby) + "---\n" + text(other), "document 2: imagestream ruby is there twice, and the two differ"},
		"tag twice":        {text(streamObject("a", nil, "1", "q/a/b:1", "1", "q/a/b:2")), "imagestream a: tag 1 is there twice, and the two differ"},
		"no name":          {text(streamObject("", nil)), "is not a name of an imagestream"},
		"path as name":     {text(streamObject("../a", nil)), "is not a name of an imagestream"},
		"no tag name":      {text(streamObject("a", nil, "", "q/a/b:1")), "imagestream a: \"\" is not a name of a tag"},
		"no reference":     {text(streamObject("a", nil, "1", "")), "imagestream a: tag 1: \"\" is not an image reference"},
		"spaces":           {text(streamObject("a", nil, "1", "q/a b")), "is not an image reference"},
		"long reference":   {text(streamObject("a", nil, "1", strings.Repeat("a", 1025))), "is not an image reference"},
		"tags no list":     {"kind: ImageStream\napiVersion: v1\nmetadata: {name: a}\nspec: {tags: 3}", "decode ImageStream"},
		"many aliases":     {aliases(), "decode YAML"},
		"too many streams": {manyStreams(MaxStreams + 1), "more than 10000 imagestreams"},
		"too many tags":    {manyTags(MaxTags + 1), "or 100000 tags"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseImageStreams([]byte(test.in))
			wantError(t, err, test.want)
			if len(got.Streams) > 0 {
				t.Errorf("returned %v beside the error", got)
			}
		})
	}
}

func TestManyStreams(t *testing.T) {
	if got := parseStreams(t, []byte(manyStreams(MaxStreams))); len(got.Streams) != MaxStreams {
		t.Errorf("%d streams, want %d", len(got.Streams), MaxStreams)
	}
}

func manyStreams(n int) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(`{"kind":"ImageStream","apiVersion":"v1","metadata":{"name":"s%d"}}`, i)
	}
	return `{"kind":"List","items":[` + strings.Join(items, ",") + "]}"
}

func manyTags(n int) string {
	tags := make([]string, n)
	for i := range tags {
		tags[i] = fmt.Sprintf(`{"name":"t%d","from":{"kind":"DockerImage","name":"q/a/b"}}`, i)
	}
	return `{"kind":"ImageStream","apiVersion":"v1","metadata":{"name":"a"},"spec":{"tags":[` + strings.Join(tags, ",") + "]}}"
}

// aliases is a text of a few lines that would take gigabytes when spelled out.
func aliases() string {
	text := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 12 {
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	return text
}
