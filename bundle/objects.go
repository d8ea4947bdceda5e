package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"airlift/manifest"
	"airlift/oci"
)

// Where the objects lie under their directory. apply holds only complete
// objects, so that `oc apply -f apply/` succeeds.
const (
	IDMSFile    = "apply/idms.yaml"
	ITMSFile    = "apply/itms.yaml"
	SamplesFile = "patches/samples-operator.yaml"
	InstallFile = "install/install-config.fragment.yaml"
)

const assumedComment = "What a complete import would give: no registry was asked."

// WriteObjects writes what a cluster needs to use the registry, under dir:
// mirror sets, samples patch, install-config fragment and the report itself.
// What lies there already is kept: earlier imports' images through their report,
// sources of mirror sets even without one. Each file appears whole or not at
// all; no other file is touched. It gives the names of the files, sorted.
func (r *Report) WriteObjects(dir string) ([]string, error) {
	files, err := r.together(dir)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(files)), writeFiles(dir, files)
}

// Write writes the report alone, after an import whose result a cluster should
// not be told of yet.
func (r *Report) Write(dir string) error {
	files, err := r.together(dir)
	if err != nil {
		return err
	}
	return writeFiles(dir, map[string][]byte{ReportFile: files[ReportFile]})
}

// CheckObjects renders what a complete import would write under a directory,
// with what lies there, and throws it away: what cannot be written is better
// known before anything is pushed.
func (b *Bundle) CheckObjects(p Placement, o ObjectOptions, dir string) error {
	r, err := b.Assume(p, o)
	if err != nil {
		return err
	}
	r.Assumed = false
	return errors.Join(r.Check(dir), writable(dir))
}

// writable says whether a directory could be written to, or made. It tries nothing.
func writable(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
		return writable(filepath.Dir(dir))
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%w: %s is no directory", ErrUsage, dir)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("write into %s: %w", dir, err)
	}
	return nil
}

// Check says whether WriteObjects would fail, but for the disk.
func (r *Report) Check(dir string) error {
	_, err := r.together(dir)
	return err
}

// together renders all files, this import's and what lies under dir together.
func (r *Report) together(dir string) (map[string][]byte, error) {
	earlier, err := readEarlier(filepath.Join(dir, ReportFile))
	if err != nil {
		return nil, err
	}
	if earlier != nil {
		if err := r.Extend(earlier); err != nil {
			return nil, err
		}
	}
	return r.objects(dir)
}

// objects renders all files, by their names under dir.
func (r *Report) objects(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	if err := errors.Join(r.mirrorSets(dir, files), r.samplesPatch(files), r.installConfig(files)); err != nil {
		return nil, err
	}
	if err := errors.Join(r.clusterConfig(files), r.trustBundle(files)); err != nil {
		return nil, err
	}
	data, err := r.bytes()
	files[ReportFile] = data
	return files, err
}

func (r *Report) mirrorSets(dir string, files map[string][]byte) error {
	digests := manifest.MirrorSet{Kind: manifest.DigestMirrorSet, Mirrors: r.mirrors(func(Held) bool { return true })}
	tags := manifest.MirrorSet{Kind: manifest.TagMirrorSet, Mirrors: r.mirrors(Held.pulledByTag)}
	if err := errors.Join(r.merge(dir, IDMSFile, &digests), r.merge(dir, ITMSFile, &tags)); err != nil {
		return err
	}
	samePolicy(tags.Mirrors, digests.Mirrors)
	return errors.Join(render(IDMSFile, digests, files), render(ITMSFile, tags, files))
}

// merge names a set and adds the sources that its file has already.
func (r *Report) merge(dir, file string, set *manifest.MirrorSet) error {
	set.Name, set.Comment = r.Options.Name, r.comment()
	return mergeHeld(filepath.Join(dir, file), set)
}

// samePolicy gives the sources of one set the policies that they have in the
// other: a cluster takes none of its mirror sets if two differ on one source.
func samePolicy(set, other []manifest.Mirror) {
	policies := map[string]string{}
	for _, m := range other {
		policies[m.Source] = m.Policy
	}
	for i, m := range set {
		if policy, there := policies[m.Source]; there {
			set[i].Policy = policy
		}
	}
}

func render(file string, set manifest.MirrorSet, files map[string][]byte) error {
	if len(set.Mirrors) == 0 {
		return nil
	}
	data, err := set.YAML()
	if err != nil {
		return fmt.Errorf("%w: write %s: %w", ErrUsage, file, err)
	}
	files[file] = data
	return nil
}

func (r *Report) comment() string {
	if r.Assumed {
		return assumedComment
	}
	return ""
}

// pulledByTag says whether a cluster pulls an image by its tag. Releases are
// pulled by digest only, and signatures by whoever pulls their image.
func (h Held) pulledByTag() bool {
	ref, err := oci.ParseReference(h.Reference)
	return err == nil && ref.Digest == "" && !h.Release && !isAttachment(ref)
}

// mirrors are the sources of the held images that are wanted, with where they lie.
func (r *Report) mirrors(wanted func(Held) bool) []manifest.Mirror {
	places := map[string][]string{}
	for _, h := range r.Held {
		source, err := oci.ParseReference(h.Reference)
		if err != nil || !wanted(h) {
			continue
		}
		for _, mirror := range h.Mirrors {
			places[source.Name()] = union(places[source.Name()], r.places(mirror))
		}
	}
	var mirrors []manifest.Mirror
	for _, source := range slices.Sorted(maps.Keys(places)) {
		mirrors = append(mirrors, manifest.Mirror{Source: source, Mirrors: places[source], Policy: r.Options.Policy})
	}
	return mirrors
}

// places are a repository's names in the registry and in its further mirrors.
func (r *Report) places(name string) []string {
	places := []string{name}
	if path, under := below(name, r.Options.Cluster); under {
		for _, m := range r.Options.Mirrors {
			places = append(places, join(m, path))
		}
	}
	return places
}

// mergeHeld adds the sources of the object that lies in a file already.
func mergeHeld(path string, set *manifest.MirrorSet) error {
	data, err := readSmall(path, maxReportSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	held, err := manifest.ParseMirrorSet(data)
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", path, err)
	case held.Kind != set.Kind || held.Name != set.Name:
		return fmt.Errorf("%w: %s holds %s %s, not %s %s: it is another registry's", ErrOccupied, path, held.Kind, held.Name, set.Kind, set.Name)
	}
	set.Mirrors, err = manifest.MergeMirrors(held.Mirrors, set.Mirrors)
	return err
}

// samplesPatch is written when all streams that the operator owns are known:
// each is skipped unless every image tag of it is where the operator will look.
func (r *Report) samplesPatch(files map[string][]byte) error {
	if len(r.Streams) == 0 {
		return nil
	}
	skipped := r.skipped()
	if len(skipped) == len(r.Streams) {
		return nil // there is nothing that the operator could use
	}
	patch := manifest.SamplesPatch{Registry: r.Options.Cluster, Skipped: skipped, Comment: r.comment()}
	data, err := patch.YAML()
	files[SamplesFile] = data
	return err
}

func (r *Report) skipped() []string {
	names := map[string]bool{}
	for _, h := range r.Held {
		names[h.Reference] = true
		for _, name := range h.Names {
			names[name] = true
		}
	}
	return manifest.SkippedStreams(owned(r.Streams), func(stream string, t manifest.Tag) bool {
		if manifest.KeepsReferences(stream) { // found by its own name, through a mirror set
			ref, err := oci.ParseReference(t.From)
			return err == nil && names[ref.String()]
		}
		ref, err := oci.ParseReference(manifest.RewriteSample(t.From, r.Options.Cluster))
		return err == nil && names[ref.WithTag(imageTags(ref, ref.Digest, nil)[0]).String()]
	})
}

// owned gives streams in the terms of the samples operator.
func owned(streams []ImageStream) []manifest.ImageStream {
	var all []manifest.ImageStream
	for _, s := range streams {
		one := manifest.ImageStream{Name: s.Name, Managed: s.Samples}
		for _, t := range s.Tags {
			one.Tags = append(one.Tags, manifest.Tag{Name: t.Name, From: t.From})
		}
		all = append(all, one)
	}
	return all
}

func (r *Report) installConfig(files map[string][]byte) error {
	mirrors := r.mirrors(func(h Held) bool { return h.Release })
	if len(mirrors) == 0 {
		return nil
	}
	data, err := manifest.InstallConfigFragment(mirrors, r.comment())
	files[InstallFile] = data
	return err
}

// writeFiles writes files under a directory, each by a temporary one and a rename.
func writeFiles(dir string, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := replaceFile(filepath.Join(dir, name), files[name]); err != nil {
			return err
		}
	}
	return nil
}

func replaceFile(path string, contents []byte) error { return replaceFileMode(path, contents, 0o644) }

// replaceFileMode never makes the contents readable to more than mode says.
func replaceFileMode(path string, contents []byte, mode fs.FileMode) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(contents)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return storageError(err)
	}
	return os.Rename(f.Name(), path)
}
