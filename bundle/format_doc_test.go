package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"airlift/oci"
	"airlift/verify"
)

// formatDoc is the document that describes the format to others.
func formatDoc(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// docBlock is the code block behind the comment with a name, with its last line end.
func docBlock(t *testing.T, name string) string {
	t.Helper()
	_, rest, found := strings.Cut(formatDoc(t), "<!-- "+name+" -->\n```")
	_, rest, opened := strings.Cut(rest, "\n")
	text, _, closed := strings.Cut(rest, "```\n")
	if !found || !opened || !closed {
		t.Fatalf("docs/format.md has no block %q", name)
	}
	return text
}

// TestFormatDocConstants: numbers, names and patterns in the document are those
// of the code.
func TestFormatDocConstants(t *testing.T) {
	doc := formatDoc(t)
	for name, value := range map[string]int64{
		"MaxVolumes": MaxVolumes, "MaxInventorySize": MaxInventorySize, "MaxImages": MaxImages, "MaxNodes": MaxNodes,
		"MaxBlobs": MaxBlobs, "MaxBlobSize": MaxBlobSize, "MaxArchiveSize": MaxArchiveSize, "maxSumsSize": maxSumsSize,
		"maxReadmeSize": maxReadmeSize, "maxBases": maxBases, "maxSequence": maxSequence, "maxStreamSignatures": maxStreamSignatures, "maxStreamEnd": maxStreamEnd, "block": block, "endSize": endSize, "maxOctalSize": maxOctalSize, "oci.MaxNodeSize": oci.MaxNodeSize,
		"verify.MaxSignatureSize": verify.MaxSignatureSize, "verify.IDLength": verify.IDLength,
	} {
		if row := fmt.Sprintf("\n| `%s` | %d |", name, value); !strings.Contains(doc, row) {
			t.Errorf("docs/format.md lacks the row %q", row[1:])
		}
	}
	for name, pattern := range map[string]*regexp.Regexp{
		"versionPattern": versionPattern, "namePattern": namePattern, "textPattern": textPattern, "mediaPattern": mediaPattern,
	} {
		if line := fmt.Sprintf("\n%-15s %s\n", name, pattern); !strings.Contains(doc, line) {
			t.Errorf("docs/format.md lacks the line %q", line)
		}
	}
	for _, word := range []string{Format, LayoutName, ReadmeFile, InventoryFile, SumsFile, CheckpointFile, VolumeFile, FeatureIncrement, ReceiptFormat, ReceiptFile, volumePattern.String()} {
		if !strings.Contains(doc, "`"+word+"`") {
			t.Errorf("docs/format.md does not name %s", word)
		}
	}
}

// TestFormatDocDepth: how deep JSON may be nested.
func TestFormatDocDepth(t *testing.T) {
	nested := func(n int) []byte { return []byte(strings.Repeat("[", n) + "1" + strings.Repeat("]", n)) }
	if err := oci.CheckJSON(nested(100)); err != nil {
		t.Errorf("nested 100 deep: %v", err)
	}
	if oci.CheckJSON(nested(101)) == nil {
		t.Error("nested 101 deep was taken")
	}
}

// TestFormatDocReferences: the table of references and their normal forms.
func TestFormatDocReferences(t *testing.T) {
	_, table, _ := strings.Cut(formatDoc(t), "| written | normal form |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for row := range strings.Lines(table + "\n") {
		cells := strings.Split(strings.Trim(row, "| \n"), " | ")
		written := strings.Trim(cells[0], "`")
		want := strings.Trim(cells[1], "`")
		if want == "the same" {
			want = written
		}
		if got, err := oci.ParseReference(written); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", written, got, err)
		}
	}
}

// TestFormatDocInventory: the example is a bundle.json, written as airlift does,
// with the content id, index.json and storage that the document gives.
func TestFormatDocInventory(t *testing.T) {
	text := docBlock(t, "bundle.json")
	inv, err := ParseInventory([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	again, err := inv.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, string(again)); diff != "" {
		t.Errorf("written again it differs: %s", diff)
	}
	if id := string(inv.ContentID()); !strings.Contains(formatDoc(t), "Its content id is\n`"+id+"`.") {
		t.Errorf("the content id is %s", id)
	}
	index, err := indexJSON(&inv.Content)
	if err != nil || string(index)+"\n" != docBlock(t, "index.json") {
		t.Errorf("index.json is %s (%v)", index, err)
	}
}

// TestFormatDocArchive puts the example's archive together from the contents and
// the offsets in the document, and holds it against the sums in it.
func TestFormatDocArchive(t *testing.T) {
	inv, archive := docArchive(t)
	for _, e := range inv.entries(t, 0) {
		row := fmt.Sprintf("\n| %d | `%s` | %d |\n", e.Offset, e.Name(), e.Size)
		if !strings.Contains(formatDoc(t), row) {
			t.Errorf("docs/format.md lacks the row %q", row[1:])
		}
	}
	if want := docSum(archive) + "  bundle.tar\n"; !strings.Contains(docBlock(t, "SHA256SUMS"), want) {
		t.Errorf("SHA256SUMS lacks %s", want)
	}
	if want := docSum([]byte(docBlock(t, "bundle.json"))) + "  bundle.json\n"; !strings.Contains(docBlock(t, "SHA256SUMS"), want) {
		t.Errorf("SHA256SUMS lacks %s", want)
	}
	l, err := newLayout(&inv.Content, Storage{VolumeSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	var sums strings.Builder
	for i, v := range l.describe() {
		start, end := l.volume(i)
		fmt.Fprintf(&sums, "%s  %s\n", docSum(archive[start:end]), v.Name)
	}
	if diff := cmp.Diff(docBlock(t, "volumes"), sums.String()); diff != "" {
		t.Errorf("the volumes of 4096 bytes: %s", diff)
	}
}

// docInventory is the inventory of the example.
type docInventory struct{ *Inventory }

func (inv docInventory) entries(t *testing.T, volumeSize int64) []Entry {
	t.Helper()
	l, err := newLayout(&inv.Content, Storage{VolumeSize: volumeSize})
	if err != nil {
		t.Fatal(err)
	}
	return l.Entries
}

func docArchive(t *testing.T) (docInventory, []byte) {
	t.Helper()
	parsed, err := ParseInventory([]byte(docBlock(t, "bundle.json")))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := base64.StdEncoding.DecodeString(docBlock(t, "layer"))
	if err != nil {
		t.Fatal(err)
	}
	contents := map[digest.Digest][]byte{digest.FromBytes(layer): layer}
	for _, name := range []string{"node", "config"} {
		text := []byte(strings.TrimSuffix(docBlock(t, name), "\n"))
		contents[digest.FromBytes(text)] = text
	}
	inv := docInventory{parsed}
	var archive bytes.Buffer
	for _, e := range inv.entries(t, 0) {
		h := e.header()
		archive.Write(h[:])
		archive.Write(append(contents[e.Digest], e.contents()...))
		archive.Write(make([]byte, e.end()-e.dataEnd()))
	}
	archive.Write(make([]byte, endSize))
	return inv, archive.Bytes()
}

func docSum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// TestFormatDocNode: what the example's inventory says of its node is what the
// node says.
func TestFormatDocNode(t *testing.T) {
	inv, _ := docArchive(t)
	raw := []byte(strings.TrimSuffix(docBlock(t, "node"), "\n"))
	if err := newNodeCheck(&inv.Content).check(inv.Content.Nodes[0], raw); err != nil {
		t.Error(err)
	}
}

// TestFormatDocSignatures: the example's signatures are of its key.
func TestFormatDocSignatures(t *testing.T) {
	key, err := verify.ParsePublicKey([]byte(docBlock(t, "public key")))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(formatDoc(t), "whose id is `"+key.ID()+"`") {
		t.Errorf("the key id is %s", key.ID())
	}
	signatures := strings.Fields(docBlock(t, "signatures"))
	for i, file := range []string{InventoryFile, SumsFile} {
		signature, err := base64.StdEncoding.DecodeString(signatures[i])
		if err == nil {
			err = key.Check([]byte(docBlock(t, file)), signature)
		}
		if err != nil {
			t.Errorf("signature of %s: %v", file, err)
		}
	}
}

// docLine is a line of the document's picture of a header: offset, bytes in hex
// or one byte and how often it stands there.
var docLine = regexp.MustCompile(`(?m)^ *([0-9]+)  (?:([0-9a-f]{2}) × ([0-9]+)|((?:[0-9a-f]{2} )*[0-9a-f]{2}))(?:  |$)`)

// TestFormatDocHeader: the picture of a header is the one of index.json.
func TestFormatDocHeader(t *testing.T) {
	inv, _ := docArchive(t)
	want := inv.entries(t, 0)[1].header()
	var got []byte
	for _, m := range docLine.FindAllStringSubmatch(docBlock(t, "header"), -1) {
		part, err := hex.DecodeString(strings.ReplaceAll(m[2]+m[4], " ", ""))
		if n, _ := strconv.Atoi(m[3]); n > 0 {
			part = bytes.Repeat(part, n)
		}
		if err != nil || m[1] != strconv.Itoa(len(got)) {
			t.Errorf("line %q: does not begin at byte %d (%v)", m[0], len(got), err)
		}
		got = append(got, part...)
	}
	if diff := cmp.Diff(want[:], got); diff != "" {
		t.Errorf("the header differs: %s", diff)
	}
	if size := fmt.Sprintf("`% x`", tarSize(maxOctalSize+1)); !strings.Contains(formatDoc(t), size) {
		t.Errorf("docs/format.md lacks the size %s", size)
	}
}

// TestFormatDocFields: every field of bundle.json stands in a table, by its JSON name.
func TestFormatDocFields(t *testing.T) {
	full := Inventory{
		Requires: []string{"x"},
		Content: Content{
			Releases: []Release{{Components: []Component{{}}}}, Streams: []ImageStream{{Samples: true, Tags: []StreamTag{{}}}},
			SamplesComplete: true, Images: []Image{{Index: "x"}}, Blobs: []Blob{{}}, Missing: []Missing{{Digest: "x", Parent: "x", Role: "x"}},
			Nodes: []Node{{Config: "x", Layers: []digest.Digest{"x"}, Children: []digest.Digest{"x"}, Absent: []digest.Digest{"x"}}}, Platforms: []string{"x"},
		},
		Storage: Storage{VolumeSize: 1, Volumes: []Volume{{}}, LeftOut: []digest.Digest{"x"}}, About: About{Series: "x", Base: []Base{{Content: emptyDigest, Sequence: 1}}, Request: "x"},
	}
	data, err := json.Marshal([]any{full, Receipt{Repositories: []Holding{{}}}})
	if err != nil {
		t.Fatal(err)
	}
	doc := formatDoc(t)
	for _, m := range regexp.MustCompile(`"([a-zA-Z]+)":`).FindAllStringSubmatch(string(data), -1) {
		row := regexp.MustCompile("(?m)^\\| `(?:[a-z]+\\[\\]\\.)?" + m[1] + "` \\| [a-z]")
		if !row.MatchString(doc) {
			t.Errorf("docs/format.md has no row for the field %q", m[1])
		}
	}
}
