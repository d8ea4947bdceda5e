package bundle_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/oci"
)

// full is a content with everything that there can be: a release, a stream, an
// index, an index with a missing child and one that was left out, an image that
// was taken from an index, a missing image, one that lacks a layer.
func full(t testing.TB) *bundle.Content {
	t.Helper()
	payload, cli := "quay.io/o/release"+at("payload"), "quay.io/o/art"+at("cli")
	c := contentOf(t, payload, cli, "quay.io/team/app:v1", "quay.io/team/list:v1", "quay.io/team/part:v1")
	released(t, c, "4.17.3", payload, "cli", cli)
	stream(t, c, "python", "3.9", "quay.io/team/app:v1", "gone", "quay.io/team/gone")
	c.Samples = []bundle.Samples{{
		Release: payload, Architecture: "x86_64",
		Streams: []bundle.ImageStream{
			{Name: "python", Tags: c.Streams[0].Tags, Aliases: []bundle.Alias{{Name: "a", Tag: "3.9"}, {Name: "latest", Tag: "3.9"}}, Repository: "quay.io/team/all"},
			{Name: "ruby", LeftOut: true, Tags: []bundle.StreamTag{tagOf("quay.io/team/ruby:3")}},
		},
		Templates: []bundle.Template{
			{Name: "django", Images: []string{"quay.io/team/app:v1", "quay.io/team/gone:latest"}, Streams: []string{"cli:latest", "python:3.9"}},
			{Name: "rails", LeftOut: true, Images: []string{"quay.io/team/rails:1"}, Streams: []string{"ruby:3"}},
		},
	}}
	gone, other, hollow := digest.FromString("gone"), digest.FromString("left out"), digest.FromString("hollow")
	c.Platforms = []string{"linux/amd64", "linux/arm64"}
	c.Images[slices.IndexFunc(c.Images, func(i bundle.Image) bool { return i.Reference == "quay.io/team/app:v1" })].Index = digest.FromString("index")
	for i, n := range c.Nodes {
		switch n.Digest {
		case digest.FromString("quay.io/team/list:v1"):
			c.Nodes[i].Children = []digest.Digest{c.Nodes[i-1].Digest}
		case digest.FromString("quay.io/team/part:v1"):
			c.Nodes[i].Children = []digest.Digest{c.Nodes[i-1].Digest, gone, other}
			c.Nodes[i].Absent = []digest.Digest{gone, other}
		}
	}
	c.Missing = []bundle.Missing{
		{Reference: "quay.io/team/gone:latest", Reason: "the registry answered 404"},
		{Reference: "quay.io/team/hollow:v1", Digest: hollow, Reason: "not all of it is there"},
		{Reference: "quay.io/team/hollow@" + string(digest.FromString("layer")), Parent: hollow, Role: bundle.RoleLayer, Reason: "the registry answered 404"},
		{Reference: "quay.io/team/part@" + string(gone), Parent: digest.FromString("quay.io/team/part:v1"), Reason: "the registry answered 404"},
	}
	return c
}

// inventoryFile is bundle.json of a full content.
func inventoryFile(t testing.TB) []byte {
	t.Helper()
	data, err := inventory(t, full(t), 0).Bytes()
	check(t, err)
	return data
}

// TestInventoryRoundTrip: what is written is what is read.
func TestInventoryRoundTrip(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, 20_000} {
		want := inventory(t, full(t), size)
		data, err := want.Bytes()
		check(t, err)
		got, err := bundle.ParseInventory(data)
		check(t, err)
		if diff := gocmp.Diff(want, got, cmpopts.IgnoreUnexported(bundle.Inventory{}, bundle.Content{})); diff != "" {
			t.Errorf("(-written +read): %s", diff)
		}
		if got.ContentID() != want.ContentID() {
			t.Errorf("content id %s, was %s", got.ContentID(), want.ContentID())
		}
		if again, err := got.Bytes(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("written again it is %s, %v", again, err)
		}
	}
}

// TestUnknownFields of a later version are ignored, kept by Again, and part of
// the content's id.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	plain, err := bundle.ParseInventory(inventoryFile(t))
	check(t, err)
	data := inventoryFile(t)
	for _, edit := range [][2]string{
		{`"content": {`, `"content": { "novel": {"b": [1, 2.50, "<&>\u00e9"], "a": null},`},
		{`"reference": "quay.io/team/app:v1",`, `"reference": "quay.io/team/app:v1", "platforms": "all",`},
		{`"format":`, `"later": true, "format":`},
	} {
		if !bytes.Contains(data, []byte(edit[0])) {
			t.Fatalf("no %s in %s", edit[0], data)
		}
		data = bytes.Replace(data, []byte(edit[0]), []byte(edit[1]), 1)
	}
	inv, err := bundle.ParseInventory(data)
	check(t, err)
	if inv.ContentID() == plain.ContentID() {
		t.Error("the content id does not cover unknown fields")
	}
	again, err := inv.Again(30_000, "airlift later", 7)
	check(t, err)
	written, err := again.Bytes()
	check(t, err)
	if again.ContentID() != inv.ContentID() || compactContent(t, written) != compactContent(t, data) {
		t.Errorf("the content has become %s", written)
	}
	if !strings.Contains(compactContent(t, written), `"novel":{"b":[1,2.50,"<&>\u00e9"],"a":null}`) {
		t.Errorf("the unknown field is not kept as it was: %s", written)
	}
	if again.About.Sequence != 7 || again.About.Tool != "airlift later" || again.Storage.VolumeSize != 30_000 {
		t.Errorf("about %+v, storage %+v", again.About, again.Storage)
	}
}

func compactContent(t testing.TB, data []byte) string {
	t.Helper()
	var file struct{ Content json.RawMessage }
	check(t, json.Unmarshal(data, &file))
	var b bytes.Buffer
	check(t, json.Compact(&b, file.Content))
	return b.String()
}

// TestInventoryRefused: what this version does not know names the tool that
// does; what two readers could read differently is refused.
func TestInventoryRefused(t *testing.T) {
	t.Parallel()
	good := string(inventoryFile(t))
	for name, test := range map[string]struct {
		old, new string
		says     []string
	}{
		"format":            {`"airlift.bundle/1"`, `"airlift.bundle/2"`, []string{"airlift.bundle/2", "airlift test", "airlift.bundle/1"}},
		"no format":         {`"airlift.bundle/1"`, `""`, []string{"no format"}},
		"layout":            {`"oci-tar/1"`, `"oci-tar/2"`, []string{"oci-tar/2", "airlift test"}},
		"requires":          {`"requires": []`, `"requires": ["parity", "x"]`, []string{"parity", "airlift test"}},
		"format is first":   {`"requires": []`, `"requires": 5`, []string{"parse"}},
		"key twice":         {`"layout":`, `"layout": "oci-tar/1", "layout":`, []string{"twice"}},
		"content twice":     {`"content": {`, `"content": {}, "content": {`, []string{"twice"}},
		"content otherwise": {`"content": {`, `"Content": {"images": null}, "content": {`, []string{"Content"}},
		"images otherwise":  {`"images": [`, `"Images": [], "images": [`, []string{"Images"}},
		"images folded":     {`"images": [`, `"imageſ": [], "images": [`, []string{"imageſ"}},
		"trailing data":     {"\n}\n", "\n}\n{}", []string{"top-level"}},
		"cut":               {"\n}\n", "\n", []string{"unexpected"}},
		"not UTF-8":         {"airlift test", "airlift \xff", []string{"UTF-8"}},
		"no content":        {`"content":`, `"contents":`, []string{"content"}},
		"null content":      {`"content": {`, `"content": null, "x": {`, []string{"content"}},
		"storage size":      {`"size": `, `"size": 1`, []string{"storage"}},
		"volume name":       {`"name": "bundle.tar"`, `"name": "bundle.tar.001"`, []string{"storage"}},
		"volume missing":    {`"volumes": [`, `"volumes": [], "x": [`, []string{"storage"}},
		"volume size":       {`"storage": {`, `"storage": { "volumeSize": 20000,`, []string{"storage"}},
		"negative volumes":  {`"storage": {`, `"storage": { "volumeSize": -512,`, []string{"parse"}},
		"wrong type":        {`"sequence": 1`, `"sequence": "1"`, []string{"parse"}},
	} {
		if !strings.Contains(good, test.old) {
			t.Errorf("%s: the file has no %s", name, test.old)
		}
		t.Run(name, func(t *testing.T) {
			_, err := bundle.ParseInventory([]byte(strings.Replace(good, test.old, test.new, 1)))
			wantError(t, err, nil, test.says...)
		})
	}
	_, err := bundle.ParseInventory(make([]byte, bundle.MaxInventorySize+1))
	wantError(t, err, nil, fmt.Sprint(bundle.MaxInventorySize))
}

// TestContentRules: each rule of a content, with one that breaks it and no other.
func TestContentRules(t *testing.T) {
	t.Parallel()
	d := digest.FromString("other")
	for name, test := range map[string]struct {
		spoil func(*bundle.Content)
		says  string
	}{
		"nothing":                 {func(c *bundle.Content) { *c = bundle.Content{} }, "no images"},
		"too many images":         {func(c *bundle.Content) { c.Images = make([]bundle.Image, bundle.MaxImages+1) }, "the limit"},
		"too many nodes":          {func(c *bundle.Content) { c.Nodes = make([]bundle.Node, bundle.MaxNodes+1) }, "the limit"},
		"too many blobs":          {func(c *bundle.Content) { c.Blobs = make([]bundle.Blob, bundle.MaxBlobs+1) }, "the limit"},
		"missing is no reference": {func(c *bundle.Content) { c.Missing[0].Reference = "quay.io/A" }, "missing: "},
		"missing is not normal":   {func(c *bundle.Content) { c.Missing[0].Reference = "quay.io/team/gone" }, "is written"},
		"reason of several lines": {func(c *bundle.Content) { c.Missing[0].Reason = "a\nb" }, "not a line of text"},
		"reason with escapes":     {func(c *bundle.Content) { c.Missing[0].Reason = "\x1b[2J" }, "not a line of text"},
		"no reason":               {func(c *bundle.Content) { c.Missing[0].Reason = "" }, "not a line of text"},
		"too many missing":        {func(c *bundle.Content) { c.Missing = make([]bundle.Missing, bundle.MaxImages+1) }, "the limit"},
		"missing in no order":     {func(c *bundle.Content) { slices.Reverse(c.Missing) }, "not in order"},
		"missing twice":           {func(c *bundle.Content) { c.Missing = append(c.Missing, c.Missing[1]) }, "not in order"},
		"missing of no parent":    {func(c *bundle.Content) { c.Missing[3].Parent = "sha256:x" }, "parent"},
		"listed and missing": {func(c *bundle.Content) {
			c.Missing = append(c.Missing, bundle.Missing{Reference: "quay.io/team/part:v1", Reason: "x"})
			slices.SortFunc(c.Missing, byReference)
		}, "both listed and missing"},
		"blob of another algorithm": {func(c *bundle.Content) { c.Blobs[0].Digest = digest.SHA512.FromString("x") }, "not a sha256"},
		"blob without a digest":     {func(c *bundle.Content) { c.Blobs[0].Digest = "sha256:../../etc/passwd" }, "not a sha256"},
		"blob twice":                {func(c *bundle.Content) { c.Blobs[1] = c.Blobs[0] }, "blob " + string(full(t).Blobs[0].Digest) + ": listed twice"},
		"blob of less than nothing": {func(c *bundle.Content) { c.Blobs[0].Size = -1 }, "size -1"},
		"blob too large":            {func(c *bundle.Content) { c.Blobs[0].Size = bundle.MaxBlobSize + 1 }, "outside of"},
		"blob of no role":           {func(c *bundle.Content) { c.Blobs[0].Role = "catalog" }, "role"},
		"config behind a layer":     {func(c *bundle.Content) { slices.Reverse(c.Blobs) }, "behind a layer"},
		"node without a digest":     {func(c *bundle.Content) { c.Nodes[0].Digest = "sha256:0" }, "node: digest"},
		"node twice":                {func(c *bundle.Content) { c.Nodes[1] = c.Nodes[0] }, "listed twice"},
		"empty node":                {func(c *bundle.Content) { c.Nodes[0].Size = 0 }, "size 0"},
		"node too large":            {func(c *bundle.Content) { c.Nodes[0].Size = oci.MaxNodeSize + 1 }, "outside of"},
		"no media type":             {func(c *bundle.Content) { c.Nodes[0].MediaType = "" }, "media type"},
		"media type with a newline": {func(c *bundle.Content) { c.Nodes[0].MediaType = "a/b\nX: y" }, "media type"},
		"config not listed":         {func(c *bundle.Content) { c.Nodes[0].Config = d }, "its blob"},
		"layer not listed":          {func(c *bundle.Content) { c.Nodes[0].Layers[0] = d }, "its blob"},
		"child not listed":          {func(c *bundle.Content) { c.Nodes[0].Children = []digest.Digest{d} }, "its child"},
		"child behind its parent":   {func(c *bundle.Content) { c.Nodes[0].Children = []digest.Digest{c.Nodes[1].Digest} }, "its child"},
		"node in itself":            {func(c *bundle.Content) { c.Nodes[0].Children = []digest.Digest{c.Nodes[0].Digest} }, "its child"},
		"another's missing child":   {func(c *bundle.Content) { c.Missing[3].Parent = c.Nodes[0].Digest }, "no absent child"},
		"missing child of nothing":  {func(c *bundle.Content) { c.Missing[3].Parent = d }, "no absent child"},
		"missing child of a blob":   {func(c *bundle.Content) { c.Missing[3].Parent = digest.FromString("layer") }, "no absent child"},
		"child not claimed absent":  {func(c *bundle.Content) { part(c).Absent = part(c).Absent[:1] }, "neither listed before it nor absent"},
		"absent and there":          {func(c *bundle.Content) { part(c).Absent[0] = part(c).Children[0] }, "both listed and absent"},
		"absent in no order":        {func(c *bundle.Content) { slices.Reverse(part(c).Absent) }, "once and in order"},
		"absent twice":              {func(c *bundle.Content) { part(c).Absent = append(part(c).Absent, part(c).Absent[0]) }, "once and in order"},
		"absent and no child":       {func(c *bundle.Content) { c.Nodes[0].Absent = []digest.Digest{d} }, "once and in order"},
		"left out for nothing":      {func(c *bundle.Content) { c.Platforms = nil; c.Images[2].Index = "" }, "neither missing nor left out"},
		"index of nothing":          {func(c *bundle.Content) { n := part(c); n.Children = n.Children[1:] }, "none of its children is listed"},
		"missing and a node":        {func(c *bundle.Content) { c.Missing[1].Digest = c.Nodes[0].Digest }, "the archive has it"},
		"missing and a blob": {func(c *bundle.Content) {
			c.Missing[2].Reference = "quay.io/team/hollow@" + string(c.Blobs[0].Digest)
		}, "the archive has it"},
		"missing with two digests":  {func(c *bundle.Content) { c.Missing[2].Digest = d }, "one too many"},
		"missing of no digest":      {func(c *bundle.Content) { c.Missing[1].Digest = "sha256:x" }, "its digest"},
		"parent and a tag":          {func(c *bundle.Content) { c.Missing[1].Parent = d }, "by digest alone"},
		"blob of nothing":           {func(c *bundle.Content) { c.Missing[2].Parent = "" }, "of no image"},
		"lost blob of no role":      {func(c *bundle.Content) { c.Missing[2].Role = "catalog" }, "is not known"},
		"lost blob of what is here": {func(c *bundle.Content) { c.Missing[2].Parent = c.Nodes[0].Digest }, "no absent child"},
		"child that is a layer":     {func(c *bundle.Content) { c.Missing[3].Role = bundle.RoleLayer }, "no absent child"},
		"platform that is none":     {func(c *bundle.Content) { c.Platforms[0] = "amd64" }, "platform"},
		"platform not normal":       {func(c *bundle.Content) { c.Platforms[0] = "linux/aarch64" }, "platform"},
		"platforms in no order":     {func(c *bundle.Content) { slices.Reverse(c.Platforms) }, "platform"},
		"index of a digest":         {func(c *bundle.Content) { c.Images[0].Index = d }, "one of the index"},
		"index is the image":        {func(c *bundle.Content) { c.Images[2].Index = c.Images[2].Digest }, "one of the index"},
		"index without a digest":    {func(c *bundle.Content) { c.Images[2].Index = "sha256:x" }, "one of the index"},
		"component without a child": {func(c *bundle.Content) {
			n := &c.Nodes[slices.IndexFunc(c.Nodes, func(n bundle.Node) bool {
				return "quay.io/o/art@"+string(n.Digest) == c.Releases[0].Components[0].Image
			})]
			n.Children = []digest.Digest{c.Nodes[0].Digest, digest.FromString("gone")}
			n.Absent = n.Children[1:]
			c.Missing = append(c.Missing, bundle.Missing{Reference: "quay.io/z@" + string(n.Absent[0]), Parent: n.Digest, Reason: "x"})
		}, "some of its image"},
		"image is no reference":    {func(c *bundle.Content) { c.Images[0].Reference = "a b" }, "image: "},
		"image is not normal":      {func(c *bundle.Content) { c.Images[0].Reference = "busybox" }, "is written"},
		"images in no order":       {func(c *bundle.Content) { slices.Reverse(c.Images) }, "not in order"},
		"image twice":              {func(c *bundle.Content) { c.Images[1] = c.Images[0] }, "not in order"},
		"image of another digest":  {func(c *bundle.Content) { c.Images[0].Digest = c.Images[1].Digest }, "names another digest"},
		"image without a node":     {func(c *bundle.Content) { c.Images[2].Digest = d }, "its node"},
		"release twice":            {func(c *bundle.Content) { c.Releases = append(c.Releases, c.Releases[0]) }, "not in order"},
		"version with a space":     {func(c *bundle.Content) { c.Releases[0].Version = "4 17" }, "not a version"},
		"version with a newline":   {func(c *bundle.Content) { c.Releases[0].Version = "4.17\n" }, "not a version"},
		"no architecture":          {func(c *bundle.Content) { c.Releases[0].Architecture = "" }, "not a version and an architecture"},
		"payload not listed":       {func(c *bundle.Content) { c.Releases[0].Image = "quay.io/o/release:v9" }, "its image"},
		"component without a name": {func(c *bundle.Content) { c.Releases[0].Components[0].Name = "" }, "bad name or not in order"},
		"component twice": {func(c *bundle.Content) {
			c.Releases[0].Components = append(c.Releases[0].Components, c.Releases[0].Components[0])
		}, "bad name or not in order"},
		"component not listed":        {func(c *bundle.Content) { c.Releases[0].Components[0].Image = "quay.io/o/x:v1" }, "component cli: its image"},
		"component only missing":      {func(c *bundle.Content) { c.Releases[0].Components[0].Image = c.Missing[0].Reference }, "component cli: its image"},
		"stream with a slash":         {func(c *bundle.Content) { c.Streams[0].Name = "../x" }, "bad name or not in order"},
		"stream twice":                {func(c *bundle.Content) { c.Streams = append(c.Streams, c.Streams[0]) }, "bad name or not in order"},
		"tag without a name":          {func(c *bundle.Content) { c.Streams[0].Tags[0].Name = "" }, "tag \"\""},
		"tags in no order":            {func(c *bundle.Content) { slices.Reverse(c.Streams[0].Tags) }, "not in order"},
		"tag with a slash":            {func(c *bundle.Content) { c.Streams[0].Tags[0].Name = "a/b" }, "bad name"},
		"tag of another image":        {func(c *bundle.Content) { c.Streams[0].Tags[0].Image = "quay.io/team/list:v1" }, "is not the image"},
		"tag of no reference":         {func(c *bundle.Content) { c.Streams[0].Tags[0].From = "http://x" }, "is not the image"},
		"tag of an unlisted one":      {func(c *bundle.Content) { c.Streams[0].Tags[0] = tagOf("quay.io/x/y:v1") }, "neither listed nor missing"},
		"a custom stream left out":    {func(c *bundle.Content) { c.Streams[0].LeftOut = true }, "left out, and no sample"},
		"samples of no release":       {func(c *bundle.Content) { c.Samples[0].Release = "quay.io/team/app:v1" }, "no release"},
		"samples of no architecture":  {func(c *bundle.Content) { c.Samples[0].Architecture = "" }, "no architecture"},
		"samples twice":               {func(c *bundle.Content) { c.Samples = append(c.Samples, c.Samples[0]) }, "not in order"},
		"samples' stream twice":       {func(c *bundle.Content) { c.Samples[0].Streams[1].Name = "python" }, "for x86_64: imagestream \"python\": bad name or not in order"},
		"sample not carried":          {func(c *bundle.Content) { c.Samples[0].Streams[1].LeftOut = false }, "neither listed nor missing"},
		"alias twice":                 {func(c *bundle.Content) { c.Samples[0].Streams[0].Aliases[0].Name = "latest" }, "alias \"latest\""},
		"alias that is a tag":         {func(c *bundle.Content) { c.Samples[0].Streams[0].Aliases[0].Name = "3.9" }, "alias \"3.9\""},
		"alias of no tag":             {func(c *bundle.Content) { c.Samples[0].Streams[0].Aliases[0].Tag = "latest" }, "alias \"a\""},
		"alias with a slash":          {func(c *bundle.Content) { c.Samples[0].Streams[0].Aliases[0].Name = "a/b" }, "alias \"a/b\""},
		"repository with escapes":     {func(c *bundle.Content) { c.Samples[0].Streams[0].Repository = "\x1b[2J" }, "dockerImageRepository"},
		"template twice":              {func(c *bundle.Content) { c.Samples[0].Templates[1].Name = "django" }, "template \"django\""},
		"template with a slash":       {func(c *bundle.Content) { c.Samples[0].Templates[0].Name = "../a" }, "template \"../a\""},
		"template's image":            {func(c *bundle.Content) { c.Samples[0].Templates[0].Images[0] = "quay.io/a/b:1" }, "template django: its image quay.io/a/b:1"},
		"template's images in none":   {func(c *bundle.Content) { slices.Reverse(c.Samples[0].Templates[0].Images) }, "template django: its image"},
		"template's image not normal": {func(c *bundle.Content) { c.Samples[0].Templates[1].Images[0] = "rails" }, "template rails: reference"},
		"template not carried":        {func(c *bundle.Content) { c.Samples[0].Templates[1].LeftOut = false }, "template rails: its image"},
		"template's stream":           {func(c *bundle.Content) { c.Samples[0].Templates[0].Streams[0] = "python" }, "no tag of an imagestream"},
		"template's streams twice":    {func(c *bundle.Content) { c.Samples[0].Templates[0].Streams[0] = "python:3.9" }, "not in order"},
		"node that nobody needs":      {func(c *bundle.Content) { c.Nodes = append(c.Nodes, spare(c)) }, "node " + string(d) + ": no image"},
		"blob that nobody needs":      {func(c *bundle.Content) { c.Blobs = append(c.Blobs, bundle.Blob{Digest: d, Role: bundle.RoleLayer}) }, "blob " + string(d) + ": no image"},
		"archive too large":           {func(c *bundle.Content) { enormous(c) }, "the archive would have"},
		"node and blob of two sizes":  {func(c *bundle.Content) { c.Blobs[0].Digest = c.Nodes[0].Digest; c.Nodes[0].Config = c.Nodes[0].Digest }, "as a node"},
	} {
		c := full(t)
		test.spoil(c)
		if _, err := bundle.NewInventory(*c, 0, "airlift test", 1); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func tagOf(name string) bundle.StreamTag {
	return bundle.StreamTag{Name: "x", From: name, Image: name}
}

// part is the index of a full content that lacks children.
func part(c *bundle.Content) *bundle.Node {
	return &c.Nodes[slices.IndexFunc(c.Nodes, func(n bundle.Node) bool { return len(n.Absent) > 0 })]
}

func byReference(a, b bundle.Missing) int { return strings.Compare(a.Reference, b.Reference) }

// spare is a good node that no image names.
func spare(c *bundle.Content) bundle.Node {
	n := c.Nodes[0]
	n.Digest = digest.FromString("other")
	return n
}

// enormous gives a content more bytes than an archive may have.
func enormous(c *bundle.Content) {
	for i := range int64(bundle.MaxArchiveSize/bundle.MaxBlobSize) + 1 {
		b := bundle.Blob{Digest: digest.FromString(fmt.Sprint(i)), Size: bundle.MaxBlobSize, Role: bundle.RoleLayer}
		c.Blobs = append(c.Blobs, b)
		c.Nodes[0].Layers = append(c.Nodes[0].Layers, b.Digest)
	}
}

// FuzzParseInventory: what is read can be written, and is the same content then.
func FuzzParseInventory(f *testing.F) {
	good := inventoryFile(f)
	f.Add(good)
	var compact bytes.Buffer
	check(f, json.Compact(&compact, good))
	f.Add(compact.Bytes())
	several, err := inventory(f, full(f), 20_000).Bytes()
	check(f, err)
	f.Add(several)
	for _, edit := range [][2]string{
		{`"content": {`, `"content": {"novel": 1e9,`}, {`"content": {`, `"Content": {}, "content": {`}, {`"content":`, `"Content":`},
		{`"images": [`, `"Images": [], "images": [`}, {`"images": [`, `"imageſ": [], "images": [`}, {`"releases"`, `"RELEASES"`}, {`"requires": []`, `"requires": null`}, {`404`, `\u0034\u003c`},
	} {
		f.Add(bytes.Replace(good, []byte(edit[0]), []byte(edit[1]), 1))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		inv, err := bundle.ParseInventory(data)
		if err != nil {
			return
		}
		written, err := inv.Bytes()
		check(t, err)
		again, err := bundle.ParseInventory(written)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, written)
		}
		if again.ContentID() != inv.ContentID() {
			t.Errorf("the content id was %s and is %s", inv.ContentID(), again.ContentID())
		}
		if diff := gocmp.Diff(inv, again, cmpopts.IgnoreUnexported(bundle.Inventory{}, bundle.Content{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("read again it differs: %s", diff)
		}
	})
}
