package manifest

import "fmt"

// MergeImageStreams puts the streams of two files together. A stream in both
// must be the same in both, but one whose tags are not known (as those that the
// ConfigMap implies) gives way to one whose are. The result is complete if one
// of the two is.
func MergeImageStreams(a, b ImageStreams) (ImageStreams, error) {
	c := collector{streams: map[string]ImageStream{}, complete: a.Complete || b.Complete}
	for _, from := range []ImageStreams{a, b} {
		for _, s := range from.Streams {
			held, found := c.streams[s.Name]
			if found && (len(held.Tags) == 0 || len(s.Tags) == 0) {
				s = known(held, s)
				delete(c.streams, s.Name)
			}
			if err := c.add(s); err != nil {
				return ImageStreams{}, fmt.Errorf("merge imagestreams: %w", err)
			}
		}
	}
	return c.result()
}

// known is the one of two streams of a name whose tags are known.
func known(a, b ImageStream) ImageStream {
	if len(a.Tags) > 0 {
		a, b = b, a
	}
	b.Managed = a.Managed || b.Managed
	return b
}
