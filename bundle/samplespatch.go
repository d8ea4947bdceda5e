package bundle

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"airlift/manifest"
	"airlift/oci"
)

// SamplesOptions are the choices that the samples patch depends on. The zero
// value is for a cluster of the newest release of the bundle.
type SamplesOptions struct {
	SamplesRelease string `json:"samplesRelease,omitempty"` // version of the cluster's release; "" = the newest
	SamplesArch    string `json:"samplesArch,omitempty"`    // of the cluster; "" = the only one, or that of Current
	SkipStreams    string `json:"skipStreams,omitempty"`    // manifest.SkipAny, which "" is, or SkipAllMissing
	SamplesState   string `json:"samplesState,omitempty"`   // SamplesRemoved: the patch says that, and nothing else; "" = SamplesManaged

	// Current is the configuration that the cluster has; nil if nobody looked.
	Current *manifest.SamplesConfig `json:"-"`
}

// What a samples operator is to do.
const (
	SamplesManaged = "Managed"
	SamplesRemoved = "Removed"
)

// over keeps what an earlier import was told, but for what this one is.
func (o SamplesOptions) over(earlier SamplesOptions) SamplesOptions {
	o.SamplesArch = cmp.Or(o.SamplesArch, earlier.SamplesArch)
	o.SkipStreams = cmp.Or(o.SkipStreams, earlier.SkipStreams)
	o.SamplesState = cmp.Or(o.SamplesState, earlier.SamplesState)
	return o
}

// SamplesOperator is what a samples operator creates.
type SamplesOperator struct {
	Version string  `json:"version,omitempty"` // of its release; "" if it was read out of a cluster
	Samples Samples `json:"samples"`           // without release and architecture if it was read out of a cluster
}

// isSame says whether both are the operator of one release on one architecture.
func (s SamplesOperator) isSame(other SamplesOperator) bool {
	return s.Version == other.Version && s.Samples.Architecture == other.Samples.Architecture
}

// Skips are what a samples patch makes a cluster skip.
type Skips struct {
	Streams   []string `json:"imagestreams"` // for what the registry does not hold
	Templates []string `json:"templates"`    // likewise
	// By choice of the cluster's administrator: they stay, whatever the registry holds.
	KeptStreams   []string `json:"keptImagestreams,omitempty"`
	KeptTemplates []string `json:"keptTemplates,omitempty"`
}

// operators are the samples operators that a content knows all of: those of its
// releases, else the one of the cluster whose streams it has.
func (c *Content) operators() []SamplesOperator {
	var all []SamplesOperator
	for _, s := range c.Samples {
		i := slices.IndexFunc(c.Releases, func(r Release) bool { return r.Image == s.Release })
		all = append(all, SamplesOperator{c.Releases[i].Version, s})
	}
	if all == nil && c.SamplesComplete {
		all = []SamplesOperator{{Samples: Samples{Streams: c.sampleStreams()}}}
	}
	return all
}

// samplesFault words why samplesRegistry cannot say where samples are.
func (o ObjectOptions) samplesFault(c *Content) string {
	p, err := o.Placement()
	if err == nil {
		err = p.SamplesFault(c)
	}
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(strings.ReplaceAll(err.Error(), ErrUsage.Error()+": ", ""), "\n", "; ")
}

// operator is the one of the cluster that the patch is for; nil if none is known.
func (r *Report) operator() (*SamplesOperator, error) {
	o, left := r.Options, slices.Clone(r.Operators)
	if len(left) == 0 {
		return nil, nil
	}
	if o.SamplesRelease != "" {
		left = slices.DeleteFunc(left, func(s SamplesOperator) bool { return s.Version != "" && s.Version != o.SamplesRelease })
	}
	if len(left) == 0 {
		return nil, fmt.Errorf("%w: no samples of release %s are known, only of %s", ErrUsage, o.SamplesRelease, listed(r.Operators, func(s SamplesOperator) string { return s.Version }))
	}
	arch := o.SamplesArch
	if arch == "" && o.Current != nil && len(o.Current.Architectures) == 1 && len(left) > 1 {
		arch = o.Current.Architectures[0]
		r.Options.SamplesArch = arch // later runs have no Current
	}
	architectures := listed(left, func(s SamplesOperator) string { return s.Samples.Architecture })
	if arch != "" {
		left = slices.DeleteFunc(left, func(s SamplesOperator) bool {
			return s.Samples.Architecture != "" && s.Samples.Architecture != arch
		})
	}
	switch {
	case len(left) == 0:
		return nil, fmt.Errorf("%w: no samples for %s are known, only for %s", ErrUsage, arch, architectures)
	case slices.ContainsFunc(left, func(s SamplesOperator) bool { return s.Samples.Architecture != left[0].Samples.Architecture }):
		return nil, fmt.Errorf("%w: %w: %s", ErrUsage, ErrSeveralArchitectures, architectures)
	}
	newest := slices.MaxFunc(left, func(a, b SamplesOperator) int { return slices.Compare(numbers(a.Version), numbers(b.Version)) })
	return &newest, nil
}

// ErrSeveralArchitectures: samples are known for several, and nobody said which
// one the cluster has.
var ErrSeveralArchitectures = errors.New("samples of several architectures")

func listed(all []SamplesOperator, word func(SamplesOperator) string) string {
	words := map[string]bool{}
	for _, s := range all {
		words[word(s)] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(words)), ", ")
}

// numbers are those of a version, in order: 4.17.3 is 4, 17, 3. What follows a
// dash comes before the version without it.
func numbers(version string) []int {
	core, candidate, found := strings.Cut(version, "-")
	var all []int
	for _, part := range strings.Split(core, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		all = append(all, n)
	}
	if !found {
		return append(all, 1)
	}
	all = append(all, 0)
	for _, part := range strings.FieldsFunc(candidate, func(r rune) bool { return r < '0' || r > '9' }) {
		n, _ := strconv.Atoi(part)
		all = append(all, n)
	}
	return all
}

// atLeast says whether a version is one or later. One that is not known is.
func atLeast(version string, wanted ...int) bool {
	have := numbers(version)
	return have == nil || slices.Compare(have, wanted) >= 0
}

// SampleState is what becomes of a stream of the samples operator.
type SampleState struct {
	Name    string
	Carried int    // image tags that the cluster will find
	Missing int    // image tags that it will not
	Skipped bool   // by the patch
	Why     string // something is missing, or the stream is skipped
}

// TemplateState is a template that the patch makes the operator skip.
type TemplateState struct{ Name, Why string }

// SamplesState is what a samples patch says, and why.
type SamplesState struct {
	Operator  SamplesOperator
	Registry  string          // samplesRegistry; "" = references stay as they are
	Fault     string          // why it is ""
	Streams   []SampleState   // all, sorted by name
	Templates []TemplateState // those that are skipped, sorted
	Foreign   []string        // what the administrator skips and this operator does not own: left out
}

// Cost counts the image tags that the registry holds and that a cluster will not
// have, because the operator can skip streams only as a whole.
func (s *SamplesState) Cost() int {
	cost := 0
	for _, one := range s.Streams {
		if one.Skipped {
			cost += one.Carried
		}
	}
	return cost
}

// skipped are the names of the streams that are skipped.
func (s *SamplesState) skipped() []string {
	var names []string
	for _, one := range s.Streams {
		if one.Skipped {
			names = append(names, one.Name)
		}
	}
	return names
}

func (s *SamplesState) skippedTemplates() []string {
	names := []string{}
	for _, t := range s.Templates {
		names = append(names, t.Name)
	}
	return names
}

// Samples says what the samples patch of the report says, and why; nil if no
// samples operator is known.
func (r *Report) Samples() (*SamplesState, error) {
	operator, err := r.operator()
	if operator == nil || err != nil {
		return nil, err
	}
	s := &SamplesState{Operator: *operator, Registry: r.Options.Cluster, Fault: r.SamplesFault}
	if s.Fault != "" {
		s.Registry = ""
	}
	kept := r.kept()
	found, own := r.finder(s), map[string]SampleState{}
	for _, stream := range operator.Samples.Streams {
		one := r.stream(stream, found)
		if slices.Contains(kept.KeptStreams, one.Name) && !one.Skipped {
			one.Skipped, one.Why = true, "the cluster's configuration skips it"
		}
		own[one.Name] = one
		s.Streams = append(s.Streams, one)
	}
	for _, name := range kept.KeptStreams {
		if _, owned := own[name]; !owned {
			s.Foreign = append(s.Foreign, name)
		}
	}
	s.templates(kept.KeptTemplates, found, own)
	return s, nil
}

// kept are the skips of the administrator.
func (r *Report) kept() Skips {
	if r.Skipped == nil {
		return Skips{}
	}
	return *r.Skipped
}

// finder says where a cluster looks for what its streams and templates name.
type finder struct {
	held      map[string]bool // names in the registry, and references that mirror sets lead there
	registry  string          // samplesRegistry
	importing bool            // streams are imported through mirror sets: since 4.14
	pulling   bool            // nodes pull tags through mirror sets: since 4.13
}

func (r *Report) finder(s *SamplesState) finder {
	f := finder{
		held: map[string]bool{}, registry: s.Registry,
		importing: atLeast(s.Operator.Version, 4, 14), pulling: atLeast(s.Operator.Version, 4, 13),
	}
	for _, h := range r.Held {
		f.held[h.Reference] = true
		for _, name := range h.Names {
			f.held[name] = true
		}
	}
	return f
}

// tag says whether a cluster finds the image of a stream's tag.
func (f finder) tag(stream string, t StreamTag) bool {
	if f.plain(stream) {
		return f.importing && f.held[t.Image] // by its own name, through a mirror set
	}
	ref, err := oci.ParseReference(manifest.RewriteSample(t.From, f.registry))
	return err == nil && f.held[ref.WithTag(imageTags(ref, ref.Digest, nil)[0]).String()]
}

// plain says whether the operator leaves the references of a stream as they are.
func (f finder) plain(stream string) bool {
	return f.registry == "" || manifest.KeepsReferences(stream)
}

// image says whether nodes find an image by its own name.
func (f finder) image(reference string) bool {
	ref, err := oci.ParseReference(reference)
	return err == nil && f.held[reference] && (f.pulling || ref.Digest != "")
}

// stream says what becomes of one stream.
func (r *Report) stream(s ImageStream, f finder) SampleState {
	one := SampleState{Name: s.Name}
	var lacking []StreamTag
	for _, t := range s.Tags {
		if f.tag(s.Name, t) {
			one.Carried++
		} else {
			lacking = append(lacking, t)
		}
	}
	one.Missing = len(lacking)
	one.Skipped = manifestStream(s).Skips(one.Missing, r.Options.SkipStreams)
	switch {
	case len(lacking) > 0 && s.LeftOut:
		one.Why = "left out of the bundle"
	case len(lacking) > 0:
		one.Why = lacking[0].Name + ": " + r.whyNot(f, s.Name, lacking[0].Image)
		if more := len(lacking) - 1; more > 0 {
			one.Why += fmt.Sprintf("; and %d more", more)
		}
	case s.Repository != "":
		one.Why = "it imports whatever " + s.Repository + " has"
	case len(s.Tags) == 0:
		one.Why = "its images are not known"
	}
	return one
}

// manifestStream is what decides whether a stream is skipped, in the terms of manifest.
func manifestStream(s ImageStream) manifest.ImageStream {
	return manifest.ImageStream{Name: s.Name, Tags: make([]manifest.Tag, len(s.Tags)), Repository: s.Repository}
}

// whyNot says why an image is not where a cluster looks for it.
func (r *Report) whyNot(f finder, stream, reference string) string {
	if f.plain(stream) && f.held[reference] {
		return reference + ": a cluster of this release does not look for it in mirrors"
	}
	for _, l := range r.Lacking {
		if l.Reference == reference {
			return reference + ": " + l.Reason
		}
	}
	return reference + ": not imported"
}

// templates finds those that are skipped: an image that they name is missing, or
// a stream that they need is skipped or has not that image.
func (s *SamplesState) templates(kept []string, f finder, own map[string]SampleState) {
	lacking := map[string]bool{} // stream:tag
	for _, stream := range s.Operator.Samples.Streams {
		for _, t := range stream.Tags {
			lacking[stream.Name+":"+t.Name] = !f.tag(stream.Name, t)
		}
		for _, alias := range stream.Aliases {
			lacking[stream.Name+":"+alias.Name] = lacking[stream.Name+":"+alias.Tag]
		}
	}
	owned := map[string]bool{}
	for _, t := range s.Operator.Samples.Templates {
		owned[t.Name] = true
		why := ""
		for _, tag := range slices.Backward(t.Streams) {
			name, _, _ := strings.Cut(tag, ":")
			switch {
			case own[name].Skipped:
				why = "it needs the imagestream " + name
			case lacking[tag]:
				why = "it needs " + tag
			}
		}
		for _, image := range slices.Backward(t.Images) {
			if !f.image(image) {
				why = "it needs " + image
			}
		}
		if why == "" && slices.Contains(kept, t.Name) {
			why = "the cluster's configuration skips it"
		}
		if why != "" {
			s.Templates = append(s.Templates, TemplateState{t.Name, why})
		}
	}
	for _, name := range kept {
		if !owned[name] {
			s.Foreign = append(s.Foreign, name)
		}
	}
}

// samplesPatch renders the samples patch, with what an earlier one and the
// cluster's configuration skip by choice. There is none where all streams would
// be skipped, unless an earlier patch has told the operator anything else.
func (r *Report) samplesPatch(dir string, files map[string][]byte) error {
	if r.Options.SamplesState == SamplesRemoved {
		data, err := manifest.SamplesPatch{Removed: true, Comment: r.comment()}.YAML()
		files[SamplesFile] = data
		return err
	}
	earlier, err := readSamplesPatch(dir)
	if err != nil || len(r.Operators) == 0 {
		return err
	}
	r.keepSkips(earlier)
	s, err := r.Samples()
	if err != nil {
		return err
	}
	patch := manifest.SamplesPatch{Registry: s.Registry, Skipped: s.skipped(), Comment: r.comment()}
	if len(s.Operator.Samples.Templates) > 0 {
		patch.Templates = s.skippedTemplates()
	}
	r.Skipped.Streams, r.Skipped.Templates = minus(patch.Skipped, r.Skipped.KeptStreams), minus(patch.Templates, r.Skipped.KeptTemplates)
	if len(patch.Skipped) == len(s.Streams) && earlier == nil {
		return nil // there is nothing that the operator could use
	}
	data, err := patch.YAML()
	files[SamplesFile] = data
	return err
}

// keepSkips finds what the administrator of the cluster skips by choice: what
// stands in its configuration, and what was written into the earlier patch by
// hand, but for what airlift itself made it skip before. The configuration knows
// what he skips no more; without it, what he skipped before stays.
func (r *Report) keepSkips(earlier *manifest.SamplesPatch) {
	before, now := r.kept(), r.Options.Current
	by := func(file, own, kept []string, current *[]string) []string {
		switch {
		case current != nil:
			return union(minus(*current, own), minus(minus(file, own), kept))
		case earlier != nil:
			return minus(file, own)
		}
		return kept
	}
	var file manifest.SamplesPatch
	var streams, templates *[]string
	if earlier != nil {
		file = *earlier
	}
	if now != nil {
		streams, templates = &now.Skipped, &now.Templates
	}
	r.Skipped = &Skips{
		KeptStreams:   by(file.Skipped, before.Streams, before.KeptStreams, streams),
		KeptTemplates: by(file.Templates, before.Templates, before.KeptTemplates, templates),
	}
	slices.Sort(r.Skipped.KeptStreams)
	slices.Sort(r.Skipped.KeptTemplates)
}

// minus is a without what is in b; never nil, so that it is a list in JSON.
func minus(a, b []string) []string {
	return slices.DeleteFunc(append([]string{}, a...), func(s string) bool { return slices.Contains(b, s) })
}

// readSamplesPatch reads the patch that lies there; nil if none does, or one that
// says only that samples are to be removed.
func readSamplesPatch(dir string) (*manifest.SamplesPatch, error) {
	data, err := readUnder(dir, SamplesFile, maxReportSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	patch, err := manifest.ParseSamplesPatch(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, SamplesFile), err)
	}
	if patch.Removed {
		return nil, nil
	}
	return &patch, nil
}
