package bundle

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"
)

// FuzzIndenter: what is indented while it is written is what encoding/json makes of it.
func FuzzIndenter(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `{"a":[],"b":{},"c":[{}],"d":[[]]}`, `{"a":{"b":[1,2.5e3,{"c":null}],"d":true},"e":"x"}`,
		`["{\"a\":[1,2]}","\\","\\\"","a,b:c","\u00e9é"]`, `"alone"`, `0`, ` { "a" : [ 1 ] } `,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var compact, want, got bytes.Buffer
		if json.Compact(&compact, data) != nil {
			return
		}
		if err := json.Indent(&want, compact.Bytes(), "", " "); err != nil {
			t.Fatal(err)
		}
		n := indenter{to: bufio.NewWriter(&got)}
		_, _ = n.Write(compact.Bytes())
		if err := n.end(); err != nil || got.String() != want.String()+"\n" {
			t.Errorf("%s, %v, want %s", &got, err, &want)
		}
	})
}

// TestContentIsWritten as encoding/json would write it, whatever names say.
func TestContentIsWritten(t *testing.T) {
	d := digest.FromString("x")
	trap := `"nodes":[],"blobs":[]`
	for name, c := range map[string]Content{
		"nothing": {Images: []Image{}, Nodes: []Node{}, Blobs: []Blob{}},
		"one":     {Images: []Image{{Reference: trap, Digest: d}}, Nodes: []Node{{Digest: d, Size: 1, MediaType: "<&>"}}, Blobs: []Blob{{d, 1, RoleLayer}}},
		"several": {
			Releases: []Release{{Version: trap, Components: []Component{{Name: trap, Image: trap}}}}, Images: []Image{},
			Nodes: []Node{{Digest: d, Layers: []digest.Digest{d, d}}, {Digest: d, Children: []digest.Digest{d}}},
			Blobs: []Blob{{d, 1, RoleConfig}, {d, 2, RoleLayer}}, Missing: []Missing{{Reference: trap, Reason: trap}},
		},
	} {
		want, err := marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := c.write(&got); err != nil || got.String() != string(want) {
			t.Errorf("%s: %s, %v, want %s", name, &got, err, want)
		}
		if err := c.write(broken{}); !errors.Is(err, errBroken) {
			t.Errorf("%s: where nothing can be written: %v", name, err)
		}
	}
}

var errBroken = errors.New("it breaks")

// broken is where nothing can be written.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }
