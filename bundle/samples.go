package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"airlift/manifest"
	"airlift/oci"
)

// SamplesRequest asks for the images of the imagestreams that the samples
// operators of releases create, and of those that their templates name.
type SamplesRequest struct {
	// Include and Exclude choose streams by patterns of their names (path.Match).
	// No Include includes all. A template is carried if all streams that it needs
	// are chosen; one that needs none is chosen by its own name.
	Include, Exclude []string
	// Architectures of clusters, as payloads name them. None means the release's
	// own, and for one of several architectures all that the operator knows and that
	// Request.Platforms let be carried.
	Architectures []string
	All           bool // all architectures that the operator knows
}

// Limits of what is read out of a samples operator's image. A real one has some
// 400 files of 2 MB.
var sampleLimits = oci.FileLimits{File: 4 << 20, Total: 64 << 20, Count: 20_000}

const (
	samplesOperator = "cluster-samples-operator" // its component
	multi           = "multi"                    // the architecture of a release for several
)

// sorted is the request in its one form.
func (r *SamplesRequest) sorted() *SamplesRequest {
	if r == nil {
		return nil
	}
	unique := func(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }
	return &SamplesRequest{Include: unique(r.Include), Exclude: unique(r.Exclude), Architectures: unique(r.Architectures), All: r.All}
}

// chooses says whether a name was asked for.
func (r *SamplesRequest) chooses(name string) bool {
	matches := func(pattern string) bool {
		matched, _ := path.Match(pattern, name)
		return matched
	}
	return (len(r.Include) == 0 || slices.ContainsFunc(r.Include, matches)) && !slices.ContainsFunc(r.Exclude, matches)
}

// samples reads the samples of all releases and wants their images.
func (p *planner) samples(ctx context.Context, r *SamplesRequest) error {
	if r == nil {
		return nil
	}
	var failed []error
	for _, release := range p.released {
		if err := p.samplesOf(ctx, release, r); err != nil {
			failed = append(failed, fmt.Errorf("read the samples of release %s: %w", release.Version, err))
		}
	}
	if len(failed) == 0 {
		failed = append(failed, r.idle(p.sampled))
	}
	return errors.Join(failed...)
}

// idle refuses patterns that choose nothing: a misspelt one would carry too
// little, or too much, without a word.
func (r *SamplesRequest) idle(all []Samples) error {
	names := map[string]bool{}
	for _, s := range all {
		for _, stream := range s.Streams {
			names[stream.Name] = true
		}
		for _, t := range s.Templates {
			names[t.Name] = true
		}
	}
	var idle []error
	for _, pattern := range slices.Concat(r.Include, r.Exclude) {
		one := SamplesRequest{Include: []string{pattern}}
		if len(all) > 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(names)), one.chooses) {
			idle = append(idle, fmt.Errorf("%w: no sample is named %q", ErrUsage, pattern))
		}
	}
	return errors.Join(idle...)
}

func (p *planner) samplesOf(ctx context.Context, release Release, r *SamplesRequest) error {
	i := slices.IndexFunc(release.Components, func(c Component) bool { return c.Name == samplesOperator })
	if i < 0 {
		return fmt.Errorf("it has no component %s", samplesOperator)
	}
	ref, err := oci.ParseReference(release.Components[i].Image)
	if err != nil {
		return err
	}
	files, err := p.sampleFiles(ctx, ref)
	if err != nil {
		return err
	}
	architectures, err := p.architectures(release, r, manifest.SampleArchitectures(files))
	if err != nil {
		return err
	}
	for _, arch := range architectures {
		read, err := manifest.ParseSamples(files, arch)
		if err != nil {
			return err
		}
		planned, err := p.sampleSet(read, r)
		if err != nil {
			return err
		}
		planned.Release = release.Image
		p.sampled = append(p.sampled, planned)
	}
	return nil
}

// architectures are those whose samples are wanted of a release, of those that its
// samples operator knows. None may be asked for that it does not know, or whose images
// are not carried.
func (p *planner) architectures(release Release, r *SamplesRequest, known []string) ([]string, error) {
	wanted := r.sorted().Architectures
	switch {
	case r.All:
		wanted = known
	case len(wanted) > 0:
		for _, arch := range wanted {
			if !slices.Contains(known, arch) {
				return nil, fmt.Errorf("%w: it has no samples for %s, only for %s", ErrUsage, arch, strings.Join(known, ", "))
			}
		}
	case release.Architecture == multi:
		wanted = slices.DeleteFunc(slices.Clone(known), func(arch string) bool { return !p.runsOn(arch) })
		if len(wanted) == 0 {
			return nil, fmt.Errorf("%w: it has samples for %s, and images are carried for %s only", ErrUsage, strings.Join(known, ", "), p.platforms())
		}
	default:
		wanted = []string{release.Architecture}
	}
	for _, arch := range wanted {
		if !p.runsOn(arch) {
			return nil, fmt.Errorf("%w: its samples for %s are asked for, and images are carried for %s only", ErrUsage, arch, p.platforms())
		}
	}
	return wanted, nil
}

// runsOn says whether images are carried that run on clusters of an architecture.
func (p *planner) runsOn(arch string) bool {
	cluster, err := oci.ParsePlatform("linux/" + arch)
	return len(p.request.Platforms) == 0 || err == nil && slices.ContainsFunc(p.request.Platforms, func(carried oci.Platform) bool {
		return carried.OS == cluster.OS && carried.Architecture == cluster.Architecture
	})
}

// sampleFiles are the samples operator's own files.
func (p *planner) sampleFiles(ctx context.Context, ref oci.Reference) (map[string][]byte, error) {
	n, err := p.node(ctx, ref)
	if err != nil {
		return nil, err
	}
	if n, err = p.readable(ctx, ref, n); err != nil {
		return nil, err
	}
	files, err := p.client.FindFiles(ctx, ref, n, manifest.SampleFiles, sampleLimits)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := oci.CheckJSON(files[name]); err != nil {
			return nil, fmt.Errorf("parse %s: %w", name, err)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no samples in it", ref)
	}
	return files, nil
}

// sampleSet wants the images of the streams and templates that are chosen. What others
// name may be no reference.
func (p *planner) sampleSet(read manifest.Samples, r *SamplesRequest) (Samples, error) {
	set := Samples{Architecture: read.Architecture}
	chosen := map[string]bool{} // of streams
	for _, s := range read.Streams {
		planned, refs, err := plannedStream(s)
		chosen[s.Name] = r.chooses(s.Name)
		if planned.LeftOut = !chosen[s.Name]; !planned.LeftOut {
			if err != nil {
				return set, err
			}
			p.wantSamples(refs)
		}
		set.Streams = append(set.Streams, planned)
	}
	for _, t := range read.Templates {
		planned, refs, err := plannedTemplate(t)
		if planned.LeftOut = !r.choosesTemplate(t, chosen); !planned.LeftOut {
			if err != nil {
				return set, err
			}
			p.wantSamples(refs)
		}
		set.Templates = append(set.Templates, planned)
	}
	return set, nil
}

// choosesTemplate says whether a template was asked for, as the streams that it
// needs were. Streams of others than the samples operator are not asked for here.
func (r *SamplesRequest) choosesTemplate(t manifest.Template, streams map[string]bool) bool {
	needs := false
	for _, tag := range t.Tags {
		chosen, owned := streams[tag.Stream]
		if owned && !chosen {
			return false
		}
		needs = needs || owned
	}
	return needs || r.chooses(t.Name)
}

// plannedTemplate is a template in the terms of the inventory, with its images. With an
// error it is without those that are no references.
func plannedTemplate(t manifest.Template) (planned Template, refs []oci.Reference, failed error) {
	planned = Template{Name: t.Name}
	for _, image := range t.Images {
		ref, err := oci.ParseReference(image)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("template %s: %w", t.Name, err))
			continue
		}
		refs = append(refs, ref)
		planned.Images = append(planned.Images, ref.String())
	}
	slices.Sort(planned.Images)
	planned.Images = slices.Compact(planned.Images)
	for _, tag := range t.Tags {
		planned.Streams = append(planned.Streams, tag.String())
	}
	return planned, refs, failed
}

// sortedSamples puts samples into order, those of a release once.
func sortedSamples(all []Samples) []Samples {
	order := func(a, b Samples) int { return cmp.Compare(a.Release+" "+a.Architecture, b.Release+" "+b.Architecture) }
	all = slices.SortedFunc(slices.Values(all), order)
	return slices.CompactFunc(all, func(a, b Samples) bool { return order(a, b) == 0 })
}
