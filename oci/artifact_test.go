package oci_test

import (
	"fmt"
	"testing"

	"airlift/oci"
)

func TestArtifact(t *testing.T) {
	t.Parallel()
	const image, layer = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"
	const signature = "application/vnd.dev.cosign.simplesigning.v1+json"
	describe := func(mediaType string) string {
		return fmt.Sprintf(`{"mediaType":%q,"size":1,"digest":"sha256:%064d"}`, mediaType, 1)
	}
	manifest := func(more, config string, layers string) string {
		return fmt.Sprintf(`{"schemaVersion":2,%s"config":%s,"layers":[%s]}`, more, describe(config), layers)
	}
	for text, want := range map[string]string{
		manifest("", image, describe(layer)): "",
		manifest("", "application/vnd.docker.container.image.v1+json", describe("application/vnd.docker.image.rootfs.diff.tar.gzip")): "",
		manifest("", image, describe(layer)+","+describe(signature)):                                                                  signature,
		manifest("", "application/vnd.cncf.helm.config.v1+json", ""):                                                                  "application/vnd.cncf.helm.config.v1+json",
		manifest(`"artifactType":"text/x",`, "application/vnd.oci.empty.v1+json", ""):                                                 "text/x",
		`{"schemaVersion":2,"manifests":[]}`:                                                                                          "",
	} {
		n, err := oci.ParseNode("", []byte(text))
		if err != nil || n.Artifact() != want {
			t.Errorf("%s: %q, %v, want %q", text, n.Artifact(), err, want)
		}
	}
}
