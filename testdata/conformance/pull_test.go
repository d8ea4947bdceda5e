package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/containers/image/v5/docker/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const acceptManifests = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, " +
	"application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

// pull does what a node does: it takes the first place that has the manifest
// and everything else from there. It gives the repository (HOST/PATH) that served
// the image. There is no internet: only registries on loopback can be reached.
func (c *Cluster) pull(t *testing.T, ref string, want digest.Digest) (repository string, err error) {
	t.Helper()
	places, err := c.Places(ref)
	if err != nil {
		return "", err
	}
	var asked []string
	for _, p := range places {
		named, err := reference.ParseNamed(p.Reference)
		if err != nil {
			return "", err
		}
		asked = append(asked, p.Reference)
		if p.Blocked || !strings.HasPrefix(named.Name(), "127.0.0.1:") {
			continue
		}
		raw, found := node(t, named)
		if !found {
			continue
		}
		if got := digest.FromBytes(raw); got != want {
			return "", fmt.Errorf("%s is %s, not %s", p.Reference, got, want)
		}
		return named.Name(), complete(t, named, raw)
	}
	return "", fmt.Errorf("%s is at none of %q", ref, asked)
}

// node asks for a manifest by digest, or else by tag.
func node(t *testing.T, named reference.Named) (raw []byte, found bool) {
	t.Helper()
	name := "latest"
	if tagged, ok := named.(reference.Tagged); ok {
		name = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		name = digested.Digest().String()
	}
	status, raw := request(t, "GET", named, "manifests/"+name)
	return raw, status == http.StatusOK
}

// complete asks for all that a manifest names, in the same repository.
func complete(t *testing.T, named reference.Named, raw []byte) error {
	t.Helper()
	var parts struct {
		Manifests, Layers []ocispec.Descriptor
		Config            *ocispec.Descriptor
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return err
	}
	for _, child := range parts.Manifests {
		at, err := reference.WithDigest(reference.TrimNamed(named), child.Digest)
		if err != nil {
			return err
		}
		below, found := node(t, at)
		if !found || digest.FromBytes(below) != child.Digest {
			return fmt.Errorf("%s is not there", at)
		}
		if err := complete(t, at, below); err != nil {
			return err
		}
	}
	if parts.Config != nil {
		parts.Layers = append(parts.Layers, *parts.Config)
	}
	for _, blob := range parts.Layers {
		if status, _ := request(t, "HEAD", named, "blobs/"+blob.Digest.String()); status != http.StatusOK {
			return fmt.Errorf("blob %s of %s is not there", blob.Digest, named)
		}
	}
	return nil
}

// expectTag asks for a tag in a repository, HOST/PATH.
func expectTag(t *testing.T, repository, tag string) {
	t.Helper()
	named, err := reference.ParseNamed(repository + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	if _, found := node(t, named); !found {
		t.Errorf("%s is not there", named)
	}
}

// request asks a registry on loopback over plain HTTP, and by no proxy.
func request(t *testing.T, method string, named reference.Named, what string) (status int, body []byte) {
	t.Helper()
	url := "http://" + reference.Domain(named) + "/v2/" + reference.Path(named) + "/" + what
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", acceptManifests)
	resp, err := loopback.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

var loopback = &http.Client{Transport: &http.Transport{}}
