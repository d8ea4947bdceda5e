package main

import (
	"fmt"
	"net/http/httptest"
	"os"

	"airlift/oci/ocitest"
)

// vast measures how planning grows. The registry is simulated: it has manifests, of
// images that share nothing.
func (b *bench) vast() error {
	server := httptest.NewServer(ocitest.Crowd{})
	defer server.Close()
	host := server.Listener.Addr().String()
	b.printf("\n## A vast plan\n\n| images | blobs | seconds | peak MiB |\n|---|---|---|---|\n")
	for _, images := range []int{500, 1000, 2000} {
		var lines []byte
		for i := range images {
			lines = fmt.Appendf(lines, "%s/vast/image:v%d\n", host, i)
		}
		if err := os.WriteFile(b.path("vast.txt"), lines, 0o644); err != nil {
			return err
		}
		results, err := b.contest([]task{{program: "airlift export --dry-run", args: []string{
			b.airlift, "export", "--images-file", b.path("vast.txt"), "--insecure-registry", host, "--unsigned", "--dry-run", "--output", b.path("never"),
		}}})
		if err != nil {
			return err
		}
		b.printf("| %d | %d | %.2f | %.0f |\n", images, images*(ocitest.CrowdLayers+1), seconds(results[0]),
			float64(median(results[0], func(f figures) int64 { return f.peak }))/(1<<20))
	}
	return nil
}
