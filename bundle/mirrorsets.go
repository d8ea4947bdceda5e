package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"airlift/manifest"
	"airlift/oci"
)

// MirrorChanges are what mirror sets do to a cluster that had those which lay
// there before.
type MirrorChanges struct {
	// Changes are those of the files of mirror sets that lay there already.
	Changes map[string][]manifest.Change
	// New are the numbers of sources in the files that did not.
	New map[string]int
	// Drains are the reasons why applying them drains the nodes, one after the
	// other; none if it does not.
	Drains []string
	// Warnings are what may surprise: scopes that could not be as wide as they
	// were asked for, and sources that hide others.
	Warnings []string
}

// setFile is a file that holds a mirror set.
type setFile struct{ name, kind string }

// setFiles are all that there can be.
var setFiles = []setFile{
	{ICSPFile, manifest.ContentSourcePolicy}, {IDMSFile, manifest.DigestMirrorSet}, {ITMSFile, manifest.TagMirrorSet},
}

// mirrorSets are the mirror sets of a report, with those that lay there.
type mirrorSets struct {
	report  *Report
	laid    map[string][]manifest.Mirror // by kind
	sets    []manifest.MirrorSet         // to be written
	conf    manifest.RegistriesConf      // of the cluster that has them
	install []manifest.Mirror            // what an installer has to know
	changes MirrorChanges
}

// ErrPolicyOfICSP: a policy was chosen with an ImageContentSourcePolicy, which has none.
var ErrPolicyOfICSP = fmt.Errorf("%w: %s cannot be said in an %s", ErrUsage, manifest.NeverContactSource, manifest.ContentSourcePolicy)

// mirrorSets puts what is held and what lies under a directory together, and
// refuses what a cluster would refuse.
func (r *Report) mirrorSets(dir string) (*mirrorSets, error) {
	if o := r.Options; o.writes(manifest.ContentSourcePolicy) && o.Policy == manifest.NeverContactSource {
		return nil, ErrPolicyOfICSP
	}
	s := &mirrorSets{report: r}
	if err := s.readLaid(dir); err != nil {
		return nil, err
	}
	digests, tags, err := s.entries()
	if err != nil {
		return nil, err
	}
	for _, file := range setFiles {
		mirrors := digests
		if file.kind == manifest.TagMirrorSet {
			mirrors = tags
		}
		_, there := s.laid[file.kind] // a cluster may have it: without entries it has to be told
		if r.Options.writes(file.kind) && (len(mirrors) > 0 || there) {
			s.sets = append(s.sets, r.mirrorSet(file.kind, mirrors))
		}
	}
	s.install = covering(digests, r.mirrors(r.Held, func(h Held) bool { return h.Release }))
	if err := s.meet(); err != nil {
		return nil, err
	}
	s.compare()
	return s, nil
}

// mirrorSet is an object of a kind with these entries.
func (r *Report) mirrorSet(kind string, mirrors []manifest.Mirror) manifest.MirrorSet {
	mirrors = slices.Clone(mirrors)
	if kind == manifest.ContentSourcePolicy {
		for i := range mirrors {
			mirrors[i].Policy = ""
		}
	}
	return manifest.MirrorSet{Kind: kind, Name: r.Options.Name, Comment: r.comment(), Mirrors: mirrors}
}

// covering are the entries that sources lie in.
func covering(entries, sources []manifest.Mirror) []manifest.Mirror {
	var all []manifest.Mirror
	for _, source := range sources {
		entry, found := manifest.Covering(entries, source.Source, false)
		if found && !slices.ContainsFunc(all, func(m manifest.Mirror) bool { return m.Source == entry.Source }) {
			all = append(all, entry)
		}
	}
	return all
}

// ErrOtherKind: mirror sets of another kind lie there than those to be written.
var ErrOtherKind = fmt.Errorf("%w: another kind of mirror set", ErrUsage)

// readLaid reads the mirror sets that lie under a directory, without what Prune
// found to be gone.
func (s *mirrorSets) readLaid(dir string) error {
	s.laid = map[string][]manifest.Mirror{}
	for _, file := range setFiles {
		path := filepath.Join(dir, file.name)
		data, err := readUnder(dir, file.name, maxReportSize)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		held, err := manifest.ParseMirrorSet(data)
		name := s.report.Options.Name
		switch {
		case err != nil:
			return fmt.Errorf("read %s: %w", path, err)
		case held.Kind != file.kind || held.Name != name:
			return fmt.Errorf("%w: %s holds %s %s, not %s %s: it is another registry's", ErrOccupied, path, held.Kind, held.Name, file.kind, name)
		case !s.report.Options.writes(file.kind):
			return fmt.Errorf("%w: %s is there, and a cluster would get both", ErrOtherKind, path)
		}
		s.laid[file.kind] = held.Mirrors
	}
	return s.readStanding()
}

// readStanding adds what the cluster has in objects that those to be written
// replace: it must not lose it where the files are gone.
func (s *mirrorSets) readStanding() (err error) {
	o := s.report.Options
	for _, set := range o.Others {
		if set.Name != o.Name || !o.writes(set.Kind) {
			continue
		}
		entries := slices.DeleteFunc(slices.Clone(set.Mirrors), func(m manifest.Mirror) bool { return len(m.Mirrors) == 0 })
		if s.laid[set.Kind], err = manifest.MergeMirrors(entries, s.laid[set.Kind]); err != nil {
			return fmt.Errorf("%w: the cluster's %s %s: %w", ErrUsage, set.Kind, set.Name, err)
		}
	}
	return nil
}

// entries are those by digest and those by tag: what is held, and what lay there.
func (s *mirrorSets) entries() (digests, tags []manifest.Mirror, err error) {
	r := s.report
	laid := map[string][]manifest.Mirror{}
	for kind, mirrors := range s.laid {
		wanted := anyHeld
		if kind == manifest.TagMirrorSet {
			wanted = Held.pulledByTag
		}
		laid[kind] = r.remaining(mirrors, wanted)
	}
	if digests, err = manifest.MergeMirrors(laid[manifest.ContentSourcePolicy], laid[manifest.DigestMirrorSet]); err != nil {
		return nil, nil, err
	}
	if digests, err = manifest.MergeMirrors(digests, r.mirrors(r.Held, anyHeld)); err != nil {
		return nil, nil, fmt.Errorf("%w: write %s: %w", ErrUsage, IDMSFile, err)
	}
	if !r.Options.writes(manifest.TagMirrorSet) {
		s.warnTags()
		return s.widen(digests), nil, nil
	}
	if tags, err = manifest.MergeMirrors(laid[manifest.TagMirrorSet], r.mirrors(r.Held, Held.pulledByTag)); err != nil {
		return nil, nil, fmt.Errorf("%w: write %s: %w", ErrUsage, ITMSFile, err)
	}
	if r.Options.isWide() { // both over identical sources
		if digests, err = manifest.MergeMirrors(tags, digests); err != nil {
			return nil, nil, err
		}
		digests = s.widen(digests)
		return digests, digests, nil
	}
	digests = manifest.Unhide(digests, tags)
	tags = manifest.Unhide(tags, digests)
	samePolicy(tags, digests)
	return digests, tags, nil
}

// warnTags: nodes of clusters before 4.13 pull by tag from the source alone.
func (s *mirrorSets) warnTags() {
	var tagged []string
	for _, h := range s.report.Held {
		if h.pulledByTag() {
			tagged = append(tagged, h.Reference)
		}
	}
	if len(tagged) > 0 {
		s.warn("an %s has no mirrors for tags: nodes look for these at their sources alone, unless they are asked for by digest: %s",
			manifest.ContentSourcePolicy, listSome(tagged, 10))
	}
}

// widen gives sources the scope that was asked for, where that is safe.
func (s *mirrorSets) widen(mirrors []manifest.Mirror) []manifest.Mirror {
	var others []manifest.Mirror
	for _, set := range s.others() {
		others = append(others, set.Mirrors...)
	}
	wide, narrowed := manifest.Widen(mirrors, others, s.report.Options.Scope)
	for _, n := range narrowed {
		s.warn("%s cannot be one source: %s", n.Scope, n.Reason)
	}
	return wide
}

func (s *mirrorSets) warn(format string, args ...any) {
	s.changes.Warnings = append(s.changes.Warnings, fmt.Sprintf(format, args...))
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

// others are the cluster's mirror sets that those to be written do not replace.
func (s *mirrorSets) others() []manifest.MirrorSet {
	o := s.report.Options
	return slices.DeleteFunc(slices.Clone(o.Others), func(set manifest.MirrorSet) bool {
		return set.Name == o.Name && o.writes(set.Kind)
	})
}

// meet puts the sets into the cluster that they are for.
func (s *mirrorSets) meet() error {
	others, r := s.others(), s.report
	var err error
	if s.conf, err = manifest.NewRegistriesConf(slices.Concat(s.sets, others), r.special()); err != nil {
		return fmt.Errorf("%w: a cluster would take none of its mirror sets: %w", ErrUsage, err)
	}
	for _, set := range s.sets {
		if err := s.conf.CheckReach(set.Mirrors); err != nil {
			return fmt.Errorf("%w: %s %s: %w", ErrUsage, set.Kind, set.Name, err)
		}
	}
	for _, shadow := range manifest.Shadows(s.sets, others) {
		way := map[string]string{manifest.DigestOnly: "digest", manifest.TagOnly: "tag"}[shadow.Pull]
		s.warn("%s of %s is hidden by longer sources of %s: nodes do not look there by %s for %s",
			shadow.Hidden, shadow.HiddenFrom, shadow.Object, way, listSome(shadow.Sources, 10))
	}
	s.warnInstalled()
	s.warnCutOff()
	return nil
}

// installerObject is the ImageDigestMirrorSet that an installer makes of an
// install-config's imageDigestSources.
const installerObject = "image-digest-mirror"

// warnCutOff: what was not carried cannot be had from a source that nobody may
// contact, nor from a repository below it.
func (s *mirrorSets) warnCutOff() {
	held := map[string]bool{}
	for _, h := range s.report.Held {
		held[h.Reference] = true
	}
	var off []string
	for _, image := range s.report.Images {
		ref, err := oci.ParseReference(image.Reference)
		if err != nil || held[image.Reference] {
			continue
		}
		places, err := s.conf.Sources(ref.Name(), ref.Digest != "")
		if err == nil && places[len(places)-1].Blocked {
			off = append(off, image.Reference)
		}
	}
	if len(off) > 0 {
		s.warn("nodes may not contact the sources of what was not carried: %s", listSome(off, 10))
	}
}

// warnInstalled: what the installer made is in no file here.
func (s *mirrorSets) warnInstalled() {
	if s.report.Options.Others != nil || !slices.ContainsFunc(s.install, func(m manifest.Mirror) bool { return m.Policy == manifest.NeverContactSource }) {
		return
	}
	var sources []string
	for _, m := range s.install {
		sources = append(sources, m.Source)
	}
	s.warn("a cluster that was installed from a mirror has %s %s; if that says nothing of %s for %s, no node takes any of its mirror sets",
		manifest.DigestMirrorSet, installerObject, manifest.NeverContactSource, strings.Join(sources, ", "))
}

// special is what the cluster's image configuration says of registries.
func (r *Report) special() manifest.RegistrySources {
	var s manifest.RegistrySources
	c := r.Options.Config
	if c.ImageConfig != nil {
		s.Insecure, s.Blocked = slices.Clone(c.ImageConfig.Insecure), c.ImageConfig.Blocked
	}
	if place, err := ParseLocation(r.Options.Cluster); err == nil && c.Insecure {
		s.Insecure = append(s.Insecure, place.Host)
	}
	return s
}

// compare finds what is different from what lay there, and from what the cluster
// has, which is that if nobody said otherwise.
func (s *mirrorSets) compare() {
	s.changes.Changes, s.changes.New = map[string][]manifest.Change{}, map[string]int{}
	before := s.report.Options.Others
	for _, file := range setFiles {
		laid, there := s.laid[file.kind]
		if there && s.report.Options.Others == nil {
			before = append(before, manifest.MirrorSet{Kind: file.kind, Name: s.report.Options.Name, Mirrors: laid})
		}
		var now []manifest.Mirror
		for _, set := range s.sets {
			if set.Kind == file.kind {
				now = set.Mirrors
			}
		}
		switch {
		case there:
			s.changes.Changes[file.name] = manifest.Changes(laid, now)
		case len(now) > 0:
			s.changes.New[file.name] = len(now)
		}
	}
	was, err := manifest.NewRegistriesConf(before, s.report.special())
	s.changes.Drains = s.conf.Drains(was)
	if err != nil {
		s.changes.Drains = append(s.changes.Drains, "the nodes have none of the mirror sets so far, which no cluster takes")
	}
}

// render adds the files.
func (s *mirrorSets) render(files map[string][]byte) error {
	for _, set := range s.sets {
		i := slices.IndexFunc(setFiles, func(f setFile) bool { return f.kind == set.Kind })
		data, err := set.YAML()
		if err != nil {
			return fmt.Errorf("%w: write %s: %w", ErrUsage, setFiles[i].name, err)
		}
		files[setFiles[i].name] = data
	}
	return errors.Join(s.registriesConf(files), s.installConfig(files))
}

const registriesComment = "What nodes will have as /etc/containers/registries.conf, by the mirror sets\nthat are known here. It is here to be read: the cluster writes its own."

func (s *mirrorSets) registriesConf(files map[string][]byte) (err error) {
	if len(s.sets) == 0 {
		return nil
	}
	comment := registriesComment
	if s.report.Assumed {
		comment = assumedComment + "\n" + comment
	}
	if s.report.Options.writes(manifest.DigestMirrorSet) {
		files[RegistriesFile] = s.conf.TOML(comment)
		return nil
	}
	if files[RegistriesFile], err = s.conf.OldTOML(comment); err != nil {
		return fmt.Errorf("%w: write %s: %w", ErrUsage, RegistriesFile, err)
	}
	return nil
}

func (s *mirrorSets) installConfig(files map[string][]byte) (err error) {
	if len(s.install) == 0 {
		return nil
	}
	fragment := manifest.InstallConfigFragment
	if s.report.Options.writes(manifest.ContentSourcePolicy) {
		fragment = manifest.OldInstallConfigFragment
	}
	if files[InstallFile], err = fragment(s.install, s.report.comment()); err != nil {
		return fmt.Errorf("%w: write %s: %w", ErrUsage, InstallFile, err)
	}
	return nil
}

// pulledByTag says whether a cluster pulls an image by its tag. Releases are
// pulled by digest only, and signatures by whoever pulls their image.
func (h Held) pulledByTag() bool {
	ref, err := oci.ParseReference(h.Reference)
	return err == nil && ref.Digest == "" && !h.Release && !isAttachment(ref)
}

func anyHeld(Held) bool { return true }

// mirrors are the sources of the images that are wanted, with where they lie.
func (r *Report) mirrors(images []Held, wanted func(Held) bool) []manifest.Mirror {
	places := map[string][]string{}
	for _, h := range images {
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
