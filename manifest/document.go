package manifest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"

	goyaml "go.yaml.in/yaml/v2"
	"sigs.k8s.io/yaml"
)

// MaxInput is the largest document, in bytes, that a parser of this package
// reads. All the imagestreams of a cluster take about 2 MB.
const MaxInput = 32 << 20

var errEmpty = errors.New("it is empty")

// documents returns the documents of a YAML stream, those with nothing but
// comments left out. A single JSON text is one document. It fails if there is none.
func documents(data []byte) ([][]byte, error) {
	if len(data) > MaxInput {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxInput)
	}
	data = utf8Text(data)
	if json.Valid(data) {
		return [][]byte{data}, nil
	}
	var docs [][]byte
	for _, doc := range split(data) {
		if !blank(doc) {
			docs = append(docs, doc)
		}
	}
	if len(docs) == 0 {
		return nil, errEmpty
	}
	return docs, nil
}

// utf8Text turns UTF-16 with a byte order mark, which is what a redirection in
// PowerShell writes, into UTF-8, and leaves everything else as it is.
func utf8Text(data []byte) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}):
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		order = binary.BigEndian
	default:
		return bytes.TrimPrefix(data, []byte("\ufeff"))
	}
	units := make([]uint16, 0, len(data)/2)
	for rest := data[2:]; len(rest) >= 2; rest = rest[2:] {
		units = append(units, order.Uint16(rest))
	}
	return []byte(string(utf16.Decode(units)))
}

// split cuts a YAML stream at its document markers. A line that begins with
// "---" or "..." is always a marker: YAML forbids it inside a scalar.
func split(data []byte) [][]byte {
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	var docs [][]byte
	var doc []byte
	for line := range bytes.Lines(data) {
		if isMarker(line) {
			docs = append(docs, doc)
			doc = nil
			line = line[len("---"):]
		}
		doc = append(doc, line...)
	}
	return append(docs, doc)
}

func isMarker(line []byte) bool {
	if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
		return false
	}
	return len(line) == 3 || strings.IndexByte(" \t\n", line[3]) >= 0
}

// blank says whether a document holds only space, comments and directives.
func blank(doc []byte) bool {
	for line := range bytes.Lines(doc) {
		text := bytes.TrimSpace(line)
		if len(text) > 0 && text[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}

// single returns the only document of data as JSON. Keys may not repeat.
func single(data []byte) ([]byte, error) {
	docs, err := documents(data)
	if err != nil {
		return nil, err
	}
	if len(docs) > 1 {
		return nil, fmt.Errorf("it holds %d objects, not one", len(docs))
	}
	return convert(docs[0], yaml.YAMLToJSONStrict)
}

// toJSON turns one document, JSON or YAML, into JSON.
func toJSON(doc []byte) ([]byte, error) {
	if json.Valid(doc) {
		return doc, nil
	}
	return convert(doc, yaml.YAMLToJSON)
}

func convert(doc []byte, toJSON func([]byte) ([]byte, error)) ([]byte, error) {
	text, err := toJSON(doc)
	if err == nil {
		err = checkEnd(doc)
	}
	if err != nil {
		return nil, fmt.Errorf("decode YAML: %w", err)
	}
	return text, nil
}

// checkEnd fails if anything follows the one object of a document, such as a
// second JSON text: the conversion passes over that in silence.
func checkEnd(doc []byte) error {
	var ignored any
	decoder := goyaml.NewDecoder(bytes.NewReader(doc))
	if err := decoder.Decode(&ignored); err != nil {
		return err
	}
	if err := decoder.Decode(&ignored); !errors.Is(err, io.EOF) {
		return errors.New("something follows the end of the object")
	}
	return nil
}

// decodeStrict decodes JSON and refuses fields that v does not have.
func decodeStrict(text []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(v)
}

// header is what every Kubernetes object begins with.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name   string         `json:"name"`
		Labels map[string]any `json:"labels"`
	} `json:"metadata"`
}

var plainKind = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,62}$`)

// article returns a kind for a sentence: "a Deployment", "an Ingress".
func article(kind string) string {
	switch {
	case kind == "":
		return "an object without a kind"
	case !plainKind.MatchString(kind):
		return fmt.Sprintf("a %.80q", kind)
	case strings.ContainsAny(kind[:1], "AEIOUaeiou"):
		return "an " + kind
	}
	return "a " + kind
}

// printable says whether s is one word: not empty, at most limit bytes, and
// without spaces and control characters.
func printable(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for _, r := range s {
		if r == unicode.ReplacementChar || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// withComment puts a comment, a "#" before each line, in front of a YAML text.
// What could end a comment line early becomes a space.
func withComment(comment string, text []byte) []byte {
	var out bytes.Buffer
	if comment != "" {
		for line := range strings.SplitSeq(strings.TrimRight(comment, "\n"), "\n") {
			out.WriteString(strings.TrimRight("# "+strings.Map(commentRune, line), " ") + "\n")
		}
	}
	out.Write(text)
	return out.Bytes()
}

func commentRune(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}
