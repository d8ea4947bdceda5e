package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/manifest"
	"airlift/oci"
)

// The files of a payload that say what a release is (oc adm release new).
const (
	imageReferences = "release-manifests/image-references"
	releaseMetadata = "release-manifests/release-metadata"
	maxReleaseFile  = 16 << 20 // bytes; a real image-references has 120 KB
)

// releases reads each payload and wants its image and components. All payloads
// are looked at before the first error is returned.
func (p *planner) releases(ctx context.Context, refs []oci.Reference) error {
	var failed []error
	for _, ref := range refs {
		r, err := p.release(ctx, ref)
		if err != nil {
			failed = append(failed, fmt.Errorf("read release %s: %w", ref, err))
			continue
		}
		p.released = append(p.released, *r)
	}
	return errors.Join(failed...)
}

func (p *planner) release(ctx context.Context, ref oci.Reference) (*Release, error) {
	payload, err := p.node(ctx, ref)
	if err != nil {
		return nil, err
	}
	// The tag has done its work: a cluster knows a release by its digest.
	ref = ref.WithDigest(payload.Descriptor.Digest)
	image, err := p.readable(ctx, ref, payload)
	if err != nil {
		return nil, err
	}
	read, metadata, err := p.payload(ctx, ref, image)
	if err != nil {
		return nil, err
	}
	arch, err := p.architecture(ctx, ref, payload, image, metadata)
	if err != nil {
		return nil, err
	}
	r := &Release{Version: read.Version, Architecture: arch, Image: ref.String()}
	p.wantVital(ref)
	for _, c := range read.Components {
		component, err := oci.ParseReference(c.Image)
		if err != nil {
			return nil, fmt.Errorf("component %s: %w", c.Name, err)
		}
		p.wantVital(component)
		r.Components = append(r.Components, Component{Name: c.Name, Image: component.String()})
	}
	return r, nil
}

func (p *planner) wantVital(ref oci.Reference) {
	p.vital[ref.String()] = true
	p.want(ref)
}

// readable is the image whose layers hold the payload's files. All images of a
// list have the same; oc reads the linux/amd64 one.
func (p *planner) readable(ctx context.Context, ref oci.Reference, payload oci.Node) (oci.Node, error) {
	if payload.Config != nil {
		return payload, nil
	}
	if len(payload.Children) == 0 {
		return payload, errors.New("the payload is an index without images")
	}
	chosen := payload.Children[0]
	for _, child := range payload.Children {
		if child.Platform != nil && child.Platform.OS == "linux" && child.Platform.Architecture == "amd64" {
			chosen = child
			break
		}
	}
	return p.node(ctx, ref.WithDigest(chosen.Digest))
}

func (p *planner) payload(ctx context.Context, ref oci.Reference, image oci.Node) (manifest.Release, manifest.Metadata, error) {
	files, err := p.client.ReadFiles(ctx, ref, image, []string{imageReferences, releaseMetadata}, maxReleaseFile)
	if err != nil {
		return manifest.Release{}, manifest.Metadata{}, err
	}
	if files[imageReferences] == nil {
		return manifest.Release{}, manifest.Metadata{}, fmt.Errorf("no file %s in it: not a release payload", imageReferences)
	}
	for _, name := range []string{imageReferences, releaseMetadata} {
		if files[name] == nil {
			continue
		}
		if err := oci.CheckJSON(files[name]); err != nil {
			return manifest.Release{}, manifest.Metadata{}, fmt.Errorf("parse %s: %w", name, err)
		}
	}
	read, err := manifest.ParseImageReferences(files[imageReferences])
	if err != nil {
		return read, manifest.Metadata{}, err
	}
	if files[releaseMetadata] == nil {
		return read, manifest.Metadata{}, nil
	}
	metadata, err := manifest.ParseReleaseMetadata(files[releaseMetadata])
	return read, metadata, err
}

// architecture is what release tags say: multi for a list, else that of the
// image's config in the words of release payloads.
func (p *planner) architecture(ctx context.Context, ref oci.Reference, payload, image oci.Node, metadata manifest.Metadata) (string, error) {
	if payload.Config == nil || metadata.Architecture != "" {
		return multi, nil
	}
	data, err := p.client.Config(ctx, ref, image)
	if err != nil {
		return "", err
	}
	var config ocispec.Image
	if err := errors.Join(oci.CheckJSON(data), json.Unmarshal(data, &config)); err != nil {
		return "", fmt.Errorf("parse its config: %w", err)
	}
	return manifest.PayloadArch(config.Architecture), nil
}
