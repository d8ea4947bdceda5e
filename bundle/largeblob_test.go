package bundle_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/bundle"
	"airlift/oci/ocitest"
)

// TestLargeBlobWithoutRanges: one request brings a blob of more segments than
// there is memory for, while they are handed on.
func TestLargeBlobWithoutRanges(t *testing.T) {
	t.Parallel()
	const size = 96 << 20 // 96 segments, of which 48 are in memory
	vast := ocitest.NewVast()
	server := httptest.NewServer(vast)
	t.Cleanup(server.Close)
	proxy := ocitest.Misbehave(t, server.URL, func(*http.Request) *ocitest.Fault { return &ocitest.Fault{IgnoreRange: true} })
	b := ocitest.NewBuilder(strings.TrimPrefix(server.URL, "http://"))
	b.Image("team/vast", "v1", ocitest.ImageOpts{Layers: []ocispec.Descriptor{vast.Layer("large", size)}})
	check(t, b.Err())
	c := client(t, proxy.Host)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, "quay.io/team/vast:v1")}), 0))
	findings, err := m.open(t).Check(t.Context(), bundle.CheckOptions{})
	if err != nil || len(findings) > 0 {
		t.Errorf("%v: %v", findings, err)
	}
}
