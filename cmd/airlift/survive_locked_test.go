package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airlift/oci/ocitest"
)

// TestLockedOutput: while one export is at work in a directory, held up by its
// registry, another one ends by itself, with exit code 8, and does no harm. The
// lock dies with its process, however that ends.
func TestLockedOutput(t *testing.T) {
	t.Parallel()
	host := embedded(t)
	b := ocitest.NewBuilder(host)
	mixed(b)
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	images := []string{"--image", "quay.io/team/app1:v1", "--image", "quay.io/team/app2:v1"}
	at := room(t, 100<<20)
	whole := filepath.Join(at, "whole")
	airlift(t, exportFrom(host, unsigned, whole, images...)...).exits(t, 0)
	same := []string{"--from", filepath.Join(whole, "bundle.json"), "--volume", "1-"}
	stalled := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		if strings.Contains(r.URL.Path, "/blobs/") {
			return &ocitest.Fault{Delay: time.Hour}
		}
		return nil
	})
	for round := range atLength(5, 500) {
		dir := filepath.Join(at, fmt.Sprint("medium", round))
		asked := stalled.Count("GET", "/blobs/")
		first := exportFrom(stalled.Host, unsigned, dir, same...)
		killedWhen(t, first, func() bool {
			if stalled.Count("GET", "/blobs/") == asked {
				return false // not at work yet
			}
			airlift(t, exportFrom(host, unsigned, dir, same...)...).exits(t, 8)
			return true
		})
		airlift(t, exportFrom(host, unsigned, dir, same...)...).exits(t, 0)
		if names := differ(t, whole, dir); names != nil {
			t.Fatalf("round %d: not the same: %s", round, names)
		}
		_ = os.RemoveAll(dir)
	}
}
