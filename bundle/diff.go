package bundle

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Diff is what one bundle has and another has not. Everything is sorted.
type Diff struct {
	Releases Changes `json:"releases"`     // version, architecture and digest
	Streams  Changes `json:"imagestreams"` // by name, of the samples operators too
	Images   Changes `json:"images"`       // by reference
	Nodes    Amounts `json:"manifests"`
	Blobs    Amounts `json:"blobs"`
}

// Changes are what is new, gone, and there under the same name with other contents.
type Changes struct {
	New     []string `json:"new"`
	Gone    []string `json:"gone"`
	Changed []string `json:"changed"`
}

// Amounts are how much of something is new, gone, and in both.
type Amounts struct {
	New  Amount `json:"new"`
	Gone Amount `json:"gone"`
	Same Amount `json:"same"`
}

// Amount is a number of things, and their bytes.
type Amount struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"`
}

// Compare says what becomes of the contents of one inventory in another. What either
// leaves out of its archive counts: the far side has it.
func Compare(a, b *Inventory) Diff {
	return Diff{
		Releases: changes(a.Content.releaseLines(), b.Content.releaseLines()),
		Streams:  changes(a.Content.streamLines(), b.Content.streamLines()),
		Images:   changes(a.Content.imageDigests(), b.Content.imageDigests()),
		Nodes:    amounts(a.Content.nodeSizes(), b.Content.nodeSizes()),
		Blobs:    amounts(a.Content.blobSizes(), b.Content.blobSizes()),
	}
}

func changes(a, b map[string]string) Changes {
	c := Changes{New: []string{}, Gone: []string{}, Changed: []string{}}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		switch was, there := a[name]; {
		case !there:
			c.New = append(c.New, name)
		case was != b[name]:
			c.Changed = append(c.Changed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if _, there := b[name]; !there {
			c.Gone = append(c.Gone, name)
		}
	}
	return c
}

func amounts(a, b map[digest.Digest]int64) Amounts {
	var all Amounts
	for d, size := range b {
		if _, there := a[d]; there {
			all.Same.add(size)
		} else {
			all.New.add(size)
		}
	}
	for d, size := range a {
		if _, there := b[d]; !there {
			all.Gone.add(size)
		}
	}
	return all
}

func (a *Amount) add(bytes int64) {
	a.Count++
	a.Bytes += bytes
}

func (c *Content) releaseLines() map[string]string {
	lines := map[string]string{}
	for _, r := range c.Releases {
		name := r.Version + " " + r.Architecture
		lines[name] += r.Image + "\n" // two payloads may say the same of themselves
	}
	return lines
}

// streamLines are the streams that are carried, with what decides whether one is still the same: its tags.
func (c *Content) streamLines() map[string]string {
	lines := map[string]string{}
	for _, s := range c.allStreams() {
		if s.LeftOut {
			continue
		}
		for _, t := range s.Tags {
			lines[s.Name] += t.Name + " " + t.Image + "\n"
		}
		for _, a := range s.Aliases {
			lines[s.Name] += a.Name + " -> " + a.Tag + "\n"
		}
		lines[s.Name] += s.Repository + "\n"
	}
	return lines
}

func (c *Content) imageDigests() map[string]string {
	digests := map[string]string{}
	for _, i := range c.Images {
		digests[i.Reference] = string(i.Digest)
	}
	return digests
}

func (c *Content) nodeSizes() map[digest.Digest]int64 {
	sizes := map[digest.Digest]int64{}
	for _, n := range c.Nodes {
		sizes[n.Digest] = n.Size
	}
	return sizes
}

func (c *Content) blobSizes() map[digest.Digest]int64 {
	sizes := map[digest.Digest]int64{}
	for _, b := range c.Blobs {
		sizes[b.Digest] = b.Size
	}
	return sizes
}
