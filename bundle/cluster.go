package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"airlift/manifest"
	"airlift/oci"
)

// Cluster is a cluster as far as it has been told where images are: what its
// objects say, and not what whoever wrote them meant.
type Cluster struct {
	Conf    manifest.RegistriesConf
	Samples *manifest.SamplesPatch // nil if the samples operator was told nothing
	Image   manifest.ImageConfig   // the lists of registries, after the patch
	CA      []byte                 // PEM of the registry's ConfigMap; nil if there is none
}

// Stated is what a cluster says of itself, as oc prints it.
type Stated struct {
	MirrorSets []byte                // instead of those of the directory; nil if it has none but those
	Image      *manifest.ImageConfig // what the patch of the directory goes on top of; nil if it has nothing
}

// ReadCluster reads the objects under a directory, as an import writes them and
// a cluster would get them. host is the registry, HOST[:PORT], whose certificates
// are wanted.
func ReadCluster(dir, host string, stated Stated) (*Cluster, error) {
	read := func(file string) ([]byte, error) { return readUnder(dir, file, manifest.MaxInput) }
	return laidObjects{dir, read}.cluster(host, stated)
}

// Cluster is the cluster that gets these objects. The arguments are those of
// ReadCluster.
func (o *Objects) Cluster(host string, stated Stated) (*Cluster, error) {
	read := func(file string) ([]byte, error) {
		if data, there := o.files[file]; there {
			return data, nil
		}
		return nil, fs.ErrNotExist
	}
	return laidObjects{o.dir, read}.cluster(host, stated)
}

// laidObjects are the files of a directory of objects, written or not.
type laidObjects struct {
	dir  string
	read func(file string) ([]byte, error) // fs.ErrNotExist for one that is not there
}

func (l laidObjects) cluster(host string, stated Stated) (*Cluster, error) {
	c := &Cluster{}
	var err error
	if c.Image, err = l.imageConfig(stated.Image); err != nil {
		return nil, err
	}
	if c.Samples, err = readObject(l, SamplesFile, manifest.ParseSamplesPatch); err != nil {
		return nil, err
	}
	ca, err := readObject(l, CAFile, manifest.ParseConfigMap)
	if err != nil {
		return nil, err
	}
	if ca != nil {
		if c.CA, err = ca.RegistryCertificates(host); err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Join(l.dir, CAFile), err)
		}
	}
	sets, err := l.mirrorSets(stated.MirrorSets)
	if err != nil {
		return nil, err
	}
	c.Conf, err = manifest.NewRegistriesConf(sets, manifest.RegistrySources{Insecure: c.Image.Insecure, Blocked: c.Image.Blocked})
	if err != nil {
		return nil, fmt.Errorf("a cluster would take none of its mirror sets: %w", err)
	}
	return c, nil
}

// imageConfig is an image configuration after the patch.
func (l laidObjects) imageConfig(held *manifest.ImageConfig) (config manifest.ImageConfig, err error) {
	if held != nil {
		config = *held
	}
	patch, err := readObject(l, ImageConfigFile, manifest.ParseImageConfigPatch)
	if err != nil || patch == nil {
		return config, err
	}
	config = config.Patched(*patch)
	if len(config.Allowed) > 0 && len(config.Blocked) > 0 {
		return config, fmt.Errorf("a cluster would refuse %s: it has blockedRegistries, which exclude allowedRegistries", filepath.Join(l.dir, ImageConfigFile))
	}
	return config, nil
}

// readObject reads one of the files; nil if it is not there.
func readObject[T any](l laidObjects, file string, parse func([]byte) (T, error)) (*T, error) {
	data, err := l.read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	object, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(l.dir, file), err)
	}
	return &object, nil
}

// mirrorSetFiles are the files that may hold mirror sets.
var mirrorSetFiles = []string{IDMSFile, ITMSFile, ICSPFile}

func (l laidObjects) mirrorSets(given []byte) ([]manifest.MirrorSet, error) {
	if given != nil {
		sets, err := manifest.ParseMirrorSets(given)
		if err != nil {
			return nil, fmt.Errorf("%w: read mirror sets: %w", ErrUsage, err)
		}
		return sets, nil
	}
	var all []manifest.MirrorSet
	for _, file := range mirrorSetFiles {
		sets, err := readObject(l, file, manifest.ParseMirrorSets)
		if err != nil {
			return nil, err
		}
		if sets != nil {
			all = append(all, *sets...)
		}
	}
	if all == nil {
		return nil, fmt.Errorf("%w: %s holds no mirror sets: it has none of %s", ErrUsage, l.dir, strings.Join(mirrorSetFiles, ", "))
	}
	return all, nil
}

// Ways in which a cluster asks for an image.
const (
	ByNode     = "node"     // a pod, or a node itself
	ByImporter = "importer" // an imagestream, under the name that it says
	BySamples  = "samples"  // an imagestream, under the name that the samples operator gives it
)

// Pull is one thing that a cluster asks for.
type Pull struct {
	Way       string
	Reference string        // as the cluster says it
	Streams   []string      // STREAM:TAG that ask for it, none for nodes
	Digest    digest.Digest // that it is to get

	Sources []manifest.PullSource // where it is looked for, in order
	Fault   error                 // why it is not looked for at all
}

// Pulls lists what a cluster with the content of a bundle asks for, sorted by way
// and reference:
//
//   - Nodes ask for every image by its reference and, where that is a tag, by its
//     digest too: a stream remembers digests, and so do deployments. For what is
//     attached to an image, as signatures are, they look where the image is. What
//     is blocked they refuse from any mirror too, but for the release itself.
//   - The importer asks for the tags of streams, but for those that the samples
//     operator rewrites, or leaves out.
//   - For those of the samples operator it asks under the name that the operator makes.
//
// What the bundle records as missing is not asked for, nor what is not held; nil
// holds everything.
func (c *Cluster) Pulls(content *Content, held func(reference string) bool) []Pull {
	carried, released := map[string]digest.Digest{}, content.releaseRepositories()
	var all []Pull
	for _, image := range content.Images {
		if held != nil && !held(image.Reference) {
			continue
		}
		carried[image.Reference] = image.Digest
		all = append(all, c.byNode(image, released)...)
	}
	for _, s := range content.allStreams() {
		for _, t := range s.Tags {
			if d, found := carried[t.Image]; found && !c.skips(s) {
				all = append(all, c.byStream(s, t, d))
			}
		}
	}
	return merged(all)
}

// merged sorts pulls, and makes one of those that are the same.
func merged(all []Pull) []Pull {
	slices.SortStableFunc(all, func(a, b Pull) int {
		return strings.Compare(a.Way+" "+a.Reference, b.Way+" "+b.Reference)
	})
	var pulls []Pull
	for _, p := range all {
		if last := len(pulls) - 1; last >= 0 && pulls[last].Way == p.Way && pulls[last].Reference == p.Reference {
			pulls[last].Streams = union(pulls[last].Streams, p.Streams)
			continue
		}
		pulls = append(pulls, p)
	}
	return pulls
}

// skips says whether the samples operator was told to leave a stream alone.
func (c *Cluster) skips(s ImageStream) bool {
	return s.Samples && c.Samples != nil && (c.Samples.Removed || slices.Contains(c.Samples.Skipped, s.Name))
}

func (c *Cluster) byNode(image Image, released []string) []Pull {
	ref, err := oci.ParseReference(image.Reference)
	if err != nil {
		return []Pull{{Way: ByNode, Reference: image.Reference, Digest: image.Digest, Fault: err}}
	}
	refused := c.refuses(ref.Name(), released)
	pulls := []Pull{c.node(ref, image.Digest, ref.Digest != "" || isAttachment(ref), refused)}
	if ref.Digest == "" && !isAttachment(ref) {
		pulls = append(pulls, c.node(ref.WithDigest(image.Digest), image.Digest, true, refused))
	}
	return pulls
}

// node is what a node does with a reference that it does not refuse.
func (c *Cluster) node(ref oci.Reference, d digest.Digest, byDigest bool, refused error) Pull {
	p := Pull{Way: ByNode, Reference: ref.String(), Digest: d, Fault: refused}
	if refused == nil {
		p.Sources, p.Fault = c.Conf.Sources(ref.Name(), byDigest)
	}
	return p
}

// refuses is why the policy.json of nodes lets no image of a repository in,
// wherever it comes from: policies judge the name that is asked for. The
// repository of the release and what is below stays open, unless more specific
// scopes are blocked (machine-config-operator, getValidBlockedAndAllowedRegistries).
func (c *Cluster) refuses(name string, released []string) error {
	covers := func(entry string) bool { return manifest.Covers(entry, name) }
	if len(c.Image.Allowed) > 0 && !slices.ContainsFunc(c.Image.Allowed, covers) {
		return fmt.Errorf("%s is not among the allowedRegistries", name)
	}
	for _, blocked := range c.Image.Blocked {
		opens := func(release string) bool {
			return manifest.Covers(release, name) && (release == blocked || !manifest.Covers(release, blocked))
		}
		if covers(blocked) && !slices.ContainsFunc(released, opens) {
			return fmt.Errorf("%s is among the blockedRegistries, as %s: nodes take it from no mirror either", name, blocked)
		}
	}
	return nil
}

// releaseRepositories are those of the releases themselves, not of their
// components.
func (c *Content) releaseRepositories() (names []string) {
	for _, r := range c.Releases {
		if ref, err := oci.ParseReference(r.Image); err == nil {
			names = append(names, ref.Name())
		}
	}
	return names
}

// byStream is what becomes of a stream's tag.
func (c *Cluster) byStream(s ImageStream, t StreamTag, d digest.Digest) Pull {
	p := Pull{Way: ByImporter, Reference: t.From, Streams: []string{s.Name + ":" + t.Name}, Digest: d}
	if s.Samples && c.Samples != nil && !manifest.KeepsReferences(s.Name) {
		p.Way, p.Reference = BySamples, manifest.RewriteSample(t.From, c.Samples.Registry)
		if p.Fault = c.samplesFault(); p.Fault != nil {
			return p
		}
	}
	ref, err := oci.ParseReference(p.Reference)
	if err != nil {
		p.Fault = err
		return p
	}
	p.Reference = ref.String()
	p.Sources = c.Conf.ImportSources(ref.Name(), ref.Digest != "")
	return p
}

// samplesFault is why the samples operator creates nothing: it compares words.
func (c *Cluster) samplesFault() error {
	switch registry := c.Samples.Registry; {
	case registry == "":
		return nil
	case len(c.Image.Allowed) > 0 && !slices.Contains(c.Image.Allowed, registry):
		return fmt.Errorf("the samples operator creates nothing: samplesRegistry %s is not among the allowedRegistries, in exactly these words", registry)
	case slices.Contains(c.Image.Blocked, registry):
		return fmt.Errorf("the samples operator creates nothing: samplesRegistry %s is among the blockedRegistries", registry)
	}
	return nil
}
