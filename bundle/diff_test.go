package bundle_test

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"airlift/bundle"
)

// TestCompare: what is new, gone, changed and the same, with the bytes of each; and the
// other way round.
func TestCompare(t *testing.T) {
	t.Parallel()
	// Every image of contentOf has a node of 400 bytes, a config of 200 and a layer of 1000.
	amounts := func(each int, size int64, added, gone, same int) bundle.Amounts {
		of := func(n int) bundle.Amount { return bundle.Amount{Count: each * n, Bytes: size * int64(n)} }
		return bundle.Amounts{New: of(added), Gone: of(gone), Same: of(same)}
	}
	nodes := func(added, gone, same int) bundle.Amounts { return amounts(1, 400, added, gone, same) }
	blobs := func(added, gone, same int) bundle.Amounts { return amounts(2, 1200, added, gone, same) }
	none := bundle.Changes{New: []string{}, Gone: []string{}, Changed: []string{}}
	changes := func(added, gone, changed []string) bundle.Changes {
		c := bundle.Changes{New: added, Gone: gone, Changed: changed}
		for _, list := range []*[]string{&c.New, &c.Gone, &c.Changed} {
			if *list == nil {
				*list = []string{}
			}
		}
		return c
	}
	moved := func(c *bundle.Content, from, to string) *bundle.Content { // a tag leads to another image
		c.Images = contentOf(t, from).Images
		c.Images[0].Digest = digest.FromString(references(t, to)[0].String())
		return c
	}
	release := func(c *bundle.Content, version string) *bundle.Content {
		c.Releases = []bundle.Release{{Version: version, Architecture: "x86_64", Image: c.Images[0].Reference}}
		return c
	}
	stream := func(c *bundle.Content, name, tag string) *bundle.Content {
		c.Streams = []bundle.ImageStream{{Name: name, Tags: []bundle.StreamTag{{Name: tag, Image: c.Images[0].Reference}}}}
		return c
	}
	const a, b, c, d = "quay.io/x/a:1", "quay.io/x/b:1", "quay.io/x/c:1", "quay.io/x/d:1"
	for name, of := range map[string]struct {
		a, b *bundle.Content
		want bundle.Diff
	}{
		"the same": {contentOf(t, a), contentOf(t, a), bundle.Diff{Releases: none, Streams: none, Images: none, Nodes: nodes(0, 0, 1), Blobs: blobs(0, 0, 1)}},
		"some of each": {contentOf(t, a, b), contentOf(t, b, c, d), bundle.Diff{
			Releases: none, Streams: none, Images: changes([]string{c, d}, []string{a}, nil), Nodes: nodes(2, 1, 1), Blobs: blobs(2, 1, 1)}},
		"a tag moved": {contentOf(t, a), moved(contentOf(t, b), a, b), bundle.Diff{
			Releases: none, Streams: none, Images: changes(nil, nil, []string{a}), Nodes: nodes(1, 1, 0), Blobs: blobs(1, 1, 0)}},
		"a release new": {contentOf(t, a), release(contentOf(t, a), "4.17.3"), bundle.Diff{
			Releases: changes([]string{"4.17.3 x86_64"}, nil, nil), Streams: none, Images: none, Nodes: nodes(0, 0, 1), Blobs: blobs(0, 0, 1)}},
		"a release of another image": {release(contentOf(t, a), "4.17.3"), release(contentOf(t, b), "4.17.3"), bundle.Diff{
			Releases: changes(nil, nil, []string{"4.17.3 x86_64"}), Streams: none, Images: changes([]string{b}, []string{a}, nil), Nodes: nodes(1, 1, 0), Blobs: blobs(1, 1, 0)}},
		"a stream's tag": {stream(contentOf(t, a), "s", "1"), stream(contentOf(t, a), "s", "2"), bundle.Diff{
			Releases: none, Streams: changes(nil, nil, []string{"s"}), Images: none, Nodes: nodes(0, 0, 1), Blobs: blobs(0, 0, 1)}},
		"a stream gone": {stream(contentOf(t, a), "s", "1"), contentOf(t, a), bundle.Diff{
			Releases: none, Streams: changes(nil, []string{"s"}, nil), Images: none, Nodes: nodes(0, 0, 1), Blobs: blobs(0, 0, 1)}},
	} {
		a, b := &bundle.Inventory{Content: *of.a}, &bundle.Inventory{Content: *of.b}
		if diff := gocmp.Diff(of.want, bundle.Compare(a, b)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := gocmp.Diff(backwards(of.want), bundle.Compare(b, a)); diff != "" {
			t.Errorf("%s, backwards: %s", name, diff)
		}
	}
}

// backwards is a difference from the other side.
func backwards(d bundle.Diff) bundle.Diff {
	for _, c := range []*bundle.Changes{&d.Releases, &d.Streams, &d.Images} {
		c.New, c.Gone = c.Gone, c.New
	}
	for _, a := range []*bundle.Amounts{&d.Nodes, &d.Blobs} {
		a.New, a.Gone = a.Gone, a.New
	}
	return d
}
