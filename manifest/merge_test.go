package manifest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMergeImageStreams(t *testing.T) {
	tags := []Tag{{"2", "registry.redhat.io/a/jenkins:1"}}
	implied := ImageStreams{Complete: true, Streams: []ImageStream{
		{Name: "jenkins", Managed: true},
		{Name: "ruby", Managed: true, Tags: []Tag{{"1", "quay.io/a/ruby:1"}}},
	}}
	file := ImageStreams{Streams: []ImageStream{{Name: "cli"}, {Name: "jenkins", Tags: tags}}}
	want := ImageStreams{Complete: true, Streams: []ImageStream{
		{Name: "cli"},
		{Name: "jenkins", Managed: true, Tags: tags},
		implied.Streams[1],
	}}
	for _, pair := range [][2]ImageStreams{{implied, file}, {file, implied}} {
		got, err := MergeImageStreams(pair[0], pair[1])
		wantError(t, err, "")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestBadMergeImageStreams(t *testing.T) {
	a := ImageStreams{Streams: []ImageStream{{Name: "ruby", Tags: []Tag{{"1", "quay.io/a/ruby:1"}}}}}
	b := ImageStreams{Streams: []ImageStream{{Name: "ruby", Tags: []Tag{{"1", "quay.io/a/ruby:2"}}}}}
	_, err := MergeImageStreams(a, b)
	wantError(t, err, "merge imagestreams: imagestream ruby is there twice, and the two differ")
}
