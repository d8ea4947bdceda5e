package ocitest

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The component whose image a payload is built on.
const versionOperator = "cluster-version-operator"

// ReleaseOpts describe a synthetic release; the zero value is a small one.
type ReleaseOpts struct {
	Version       string // "" = 4.17.3
	Logical       string // the registry that references name; "" = quay.io
	Prefix        string // path before the repositories on the registry pushed to, e.g. "quay"; "" = none
	PayloadRepo   string // "" = openshift-release-dev/ocp-release
	ComponentRepo string // "" = openshift-release-dev/ocp-v4.0-art-dev

	Components []string                     // nil = [DefaultComponents]; cluster-version-operator is always there
	Aliases    map[string]string            // further component -> the component whose image it names too
	Files      map[string]map[string]string // component -> path -> content, in one more layer of it
	Unchanged  []string                     // components that are the same in every version; of the others the own layer differs
	LayerSize  int                          // bytes, not compressible, of a component's own layer; base layers are twice as large; 0 = 4096

	Arch       string // GOARCH; "" = amd64; not used with Multi
	Multi      bool   // manifest lists of amd64 and arm64, of the payload and of every component
	Signatures bool   // cosign's .sig tags for the payload and the components, and with Multi for the lists' children
}

// Release is what was pushed.
type Release struct {
	Version    string
	Reference  string                   // of the payload by tag: quay.io/openshift-release-dev/ocp-release:4.17.3-x86_64
	Descriptor ocispec.Descriptor       // of the payload; of the list, with Multi
	Children   []ocispec.Descriptor     // of the payload list, in order, with Multi
	Components map[string]digest.Digest // component -> digest, as image-references has it
	Images     map[string]string        // component -> quay.io/openshift-release-dev/ocp-v4.0-art-dev@sha256:…

	// Where they are on the registry, Prefix included.
	PayloadRepo, ComponentRepo string
}

// DefaultComponents returns the components of a release whose maker did not
// name any. They are real names, among them those whose images airlift or the
// cluster look into.
func DefaultComponents() []string {
	return []string{
		"cli", "cluster-samples-operator", "cluster-update-keys", versionOperator,
		"etcd", "hyperkube", "installer", "machine-config-operator", "must-gather", "rhel-coreos",
	}
}

// Release pushes the images of a release: the components, all Docker schema 2,
// which share base layers, and the payload, whose last layer holds
// release-manifests/ in the order and form of `oc adm release new`
// (pkg/cli/admin/release/new.go, writePayload). A payload is the image of the
// cluster-version-operator and that layer; with Multi all payloads of the list
// have the same one.
func (b *Builder) Release(opts ReleaseOpts) Release {
	opts = opts.filled()
	r := Release{
		Version:       opts.Version,
		Components:    map[string]digest.Digest{},
		Images:        map[string]string{},
		PayloadRepo:   join(opts.Prefix, opts.PayloadRepo),
		ComponentRepo: join(opts.Prefix, opts.ComponentRepo),
	}
	for _, name := range opts.Components {
		r.Components[name] = b.component(r.ComponentRepo, name, opts)
	}
	for alias, name := range opts.Aliases {
		r.Components[alias] = r.Components[name]
	}
	for name, dg := range r.Components {
		r.Images[name] = opts.Logical + "/" + opts.ComponentRepo + "@" + dg.String()
	}
	b.payload(&r, opts)
	return r
}

// filled returns the options with their defaults.
func (o ReleaseOpts) filled() ReleaseOpts {
	o.Version = orElse(o.Version, "4.17.3")
	o.Logical = orElse(o.Logical, "quay.io")
	o.PayloadRepo = orElse(o.PayloadRepo, "openshift-release-dev/ocp-release")
	o.ComponentRepo = orElse(o.ComponentRepo, "openshift-release-dev/ocp-v4.0-art-dev")
	o.Arch = orElse(o.Arch, "amd64")
	if o.LayerSize == 0 {
		o.LayerSize = 4096
	}
	if o.Components == nil {
		o.Components = DefaultComponents()
	}
	o.Components = slices.Concat(o.Components, []string{versionOperator})
	slices.Sort(o.Components)
	o.Components = slices.Compact(o.Components)
	return o
}

// arches are the architectures of the release, by GOARCH.
func (o ReleaseOpts) arches() []string {
	if o.Multi {
		return []string{"amd64", "arm64"}
	}
	return []string{o.Arch}
}

// component pushes one component for all architectures and returns the digest
// that image-references gives it.
func (b *Builder) component(repo, name string, opts ReleaseOpts) digest.Digest {
	var images []ocispec.Descriptor
	for _, arch := range opts.arches() {
		images = append(images, b.Image(repo, "", ImageOpts{
			Docker: true,
			Arch:   arch,
			Layers: b.componentLayers(repo, name, arch, opts),
			Labels: componentLabels(name),
		}))
	}
	return b.together(repo, "", images, opts).Digest
}

// componentLayers pushes a base layer that about half of the components share, the
// component's own, and one of its files if it has any.
func (b *Builder) componentLayers(repo, name, arch string, opts ReleaseOpts) []ocispec.Descriptor {
	base, own := "rhel-8", opts.Version
	if commitOf(name)[0] < '8' {
		base = "rhel-9"
	}
	if slices.Contains(opts.Unchanged, name) {
		own = "any version"
	}
	layers := []ocispec.Descriptor{
		b.RandomLayer(repo, "base "+base+" "+arch, 2*opts.LayerSize),
		b.RandomLayer(repo, own+" "+name+" "+arch, opts.LayerSize),
	}
	if files := opts.Files[name]; len(files) > 0 {
		layers = append(layers, b.Layer(repo, files, "gzip"))
	}
	return layers
}

func componentLabels(name string) map[string]string {
	labels := map[string]string{
		"io.openshift.build.commit.id":       commitOf(name),
		"io.openshift.build.source-location": sourceOf(name),
	}
	if name == operatorComponent {
		labels["io.openshift.release.operator"] = "true"
	}
	return labels
}

// together pushes the list of images if the release has one, and signs.
func (b *Builder) together(repo, tag string, images []ocispec.Descriptor, opts ReleaseOpts) ocispec.Descriptor {
	whole := images[0]
	if opts.Multi {
		whole = b.Index(repo, tag, true, images...)
		images = append(images, whole)
	}
	if opts.Signatures {
		for _, d := range images {
			b.CosignSignature(repo, d.Digest)
		}
	}
	return whole
}

// payload pushes the release image and completes r.
func (b *Builder) payload(r *Release, opts ReleaseOpts) {
	added := b.LayerOf(r.PayloadRepo, releaseManifests(*r, opts), "gzip")
	tag := payloadTag(opts)
	var images []ocispec.Descriptor
	for _, arch := range opts.arches() {
		layers := b.componentLayers(r.PayloadRepo, versionOperator, arch, opts)
		image := ImageOpts{
			Docker: true,
			Arch:   arch,
			Layers: append(layers, added),
			Labels: map[string]string{
				"io.openshift.release":                   opts.Version,
				"io.openshift.release.base-image-digest": r.Components[versionOperator].String(),
			},
			Comment: "Release image for OpenShift",
		}
		if opts.Multi {
			images = append(images, b.Image(r.PayloadRepo, "", image))
		} else {
			images = append(images, b.Image(r.PayloadRepo, tag, image))
		}
	}
	r.Descriptor = b.together(r.PayloadRepo, tag, images, opts)
	r.Reference = opts.Logical + "/" + opts.PayloadRepo + ":" + tag
	if opts.Multi {
		r.Children = images
	}
}

// payloadTag is the tag of a payload: the version and the architecture as
// Red Hat names it.
func payloadTag(opts ReleaseOpts) string {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[opts.Arch]
	if opts.Multi {
		arch = "multi"
	}
	return opts.Version + "-" + orElse(arch, opts.Arch)
}

// names returns the component names, sorted.
func (r Release) names() []string {
	return slices.Sorted(maps.Keys(r.Components))
}

func join(prefix, repo string) string {
	if prefix == "" {
		return repo
	}
	return prefix + "/" + repo
}
