package bundle

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"airlift/manifest"
)

// ReportFormat is what report.json says of its own form.
const ReportFormat = "airlift.report/1"

// ReportFile is a report's name beside the objects that follow from it.
const ReportFile = "report.json"

// Report says what an import did, and what the registry holds since: everything
// that is written for the cluster follows from it.
type Report struct {
	Format  string        `json:"format"`
	Content digest.Digest `json:"content"` // id of what was imported
	// Earlier are the ids of what was imported before, in that order.
	Earlier []digest.Digest `json:"earlier,omitempty"`
	Assumed bool            `json:"assumed,omitempty"` // no registry was asked
	Options ObjectOptions   `json:"options"`
	Images  []ImageResult   `json:"images"` // of this import
	// Held is all that this and earlier imports brought, sorted by reference.
	Held []Held `json:"held"`
	// Lacking is what neither this nor an earlier import brought, sorted by reference.
	Lacking []Lacking `json:"lacking,omitempty"`
	// Operators are what samples operators create, from the last bundle that knew
	// all of it; empty if none did.
	Operators []SamplesOperator `json:"samplesOperators,omitempty"`
	// SamplesFault is why samplesRegistry cannot say where samples are, in this or
	// an earlier import; "" if it can.
	SamplesFault string `json:"samplesFault,omitempty"`
	Skipped      *Skips `json:"skipped,omitempty"` // nil before there was a samples patch

	joined string        // the directory whose report is a part of this one
	sum    digest.Digest // of that report, or of the file that this one is from; empty if there is none
	chosen MirrorOptions // what of the options an earlier import chose
	read   bool          // from a file: what it lists may be gone
	lost   []Held        // images, with the mirrors at which Prune found them no more
	pruned *Report       // this, joined, without what Prune found to be gone; nil if it did not ask, or that was taken out
}

// Held is an image that the registry holds.
type Held struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
	Names     []string      `json:"names"`   // all of them, with their tags
	Mirrors   []string      `json:"mirrors"` // the repositories that mirror sets lead to
	Release   bool          `json:"release,omitempty"`
}

// Lacking is an image that was to be brought, and why it was not.
type Lacking struct {
	Reference string `json:"reference"`
	Reason    string `json:"reason"`
}

// ObjectOptions are the choices that the objects depend on.
type ObjectOptions struct {
	To             string    `json:"to"`
	Cluster        string    `json:"clusterRegistry"`
	Mirrors        []string  `json:"mirrors,omitempty"`
	KeepSourceHost bool      `json:"keepSourceHost,omitempty"`
	Maps           []Mapping `json:"maps,omitempty"`
	MaxNestedPaths int       `json:"maxNestedPaths,omitempty"` // 0 = paths are not folded
	Name           string    `json:"name"`                     // of the mirror sets

	MirrorOptions

	Config ClusterConfig `json:"clusterConfig,omitzero"`

	// Others are the mirror sets that the cluster has; nil if nobody said.
	Others []manifest.MirrorSet `json:"-"`

	SamplesOptions
}

// NewObjectOptions takes the choices of a placement. With name "" the mirror
// sets are named after the registry.
func NewObjectOptions(p Placement, name, policy string) ObjectOptions {
	o := ObjectOptions{
		To: p.To.String(), Cluster: p.Cluster.String(), KeepSourceHost: p.KeepSourceHost, Maps: p.Maps, MaxNestedPaths: p.MaxNestedPaths,
		Name: cmp.Or(name, objectName(p.Cluster.Host)), MirrorOptions: MirrorOptions{Policy: policy},
	}
	for _, m := range p.Mirrors {
		o.Mirrors = append(o.Mirrors, m.String())
	}
	return o
}

// objectName makes a Kubernetes object's name of a registry's.
func objectName(host string) string {
	return "airlift-" + strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}, strings.ToLower(host)), "-.")
}

// Report makes the report of an import.
func (b *Bundle) Report(results []ImageResult, o ObjectOptions) *Report {
	c := &b.Inventory.Content
	r := &Report{Format: ReportFormat, Content: b.Inventory.ContentID(), Options: o, Images: results}
	released := c.releaseReferences()
	for _, image := range results {
		switch {
		case image.State == StateImported || image.State == StatePresent:
			r.Held = append(r.Held, Held{
				Reference: image.Reference, Digest: image.Digest, Names: image.Names,
				Mirrors: []string{repositoryOf(image.Names[0])}, Release: released[image.Reference],
			})
		case image.Reason != "":
			r.Lacking = append(r.Lacking, Lacking{image.Reference, image.Reason})
		}
	}
	r.Operators, r.SamplesFault = c.operators(), o.samplesFault(c)
	return r
}

// Assume makes the report that a complete import would give, without one.
func (b *Bundle) Assume(p Placement, o ObjectOptions) (*Report, error) {
	im := NewImporter(nil, ImportOptions{Placement: p})
	if err := im.plan(b); err != nil {
		return nil, err
	}
	im.assume(StateImported)
	r := b.Report(im.list(), o)
	r.Assumed = true
	return r, nil
}

// Expect makes the report that a complete import will give, to know before anything
// is pushed what cannot be written: see [Report.Check].
func (b *Bundle) Expect(p Placement, o ObjectOptions) (*Report, error) {
	r, err := b.Assume(p, o)
	if err == nil {
		r.Assumed = false
	}
	return r, err
}

// repositoryOf cuts the tag off a name.
func repositoryOf(name string) string { return name[:strings.LastIndex(name, ":")] }

func (c *Content) releaseReferences() map[string]bool {
	found := map[string]bool{}
	for _, r := range c.Releases {
		found[r.Image] = true
		for _, component := range r.Components {
			found[component.Image] = true
		}
	}
	return found
}

// Extend adds what an earlier import into the same registry brought, and takes from
// it what nobody chose this time.
func (r *Report) Extend(earlier *Report) error {
	if earlier.Assumed != r.Assumed {
		return fmt.Errorf("%w: what a registry holds and what it would hold do not mix", ErrOccupied)
	}
	if earlier.Options.To != r.Options.To || earlier.Options.Cluster != r.Options.Cluster {
		return fmt.Errorf("%w: the earlier report is of %s (%s for the cluster), this one of %s (%s)",
			ErrOccupied, earlier.Options.To, earlier.Options.Cluster, r.Options.To, r.Options.Cluster)
	}
	held := map[string]Held{}
	for _, h := range slices.Concat(earlier.Held, r.Held) {
		if was, there := held[h.Reference]; there {
			h.Names, h.Mirrors = union(h.Names, was.Names), union(h.Mirrors, was.Mirrors)
			h.Release = h.Release || was.Release
		}
		held[h.Reference] = h
	}
	r.Held = nil
	for _, h := range held {
		r.Held = append(r.Held, h)
	}
	slices.SortFunc(r.Held, func(a, b Held) int { return strings.Compare(a.Reference, b.Reference) })
	r.Lacking = lacking(slices.Concat(r.Lacking, earlier.Lacking), held)
	for _, was := range earlier.Operators {
		if !slices.ContainsFunc(r.Operators, was.isSame) {
			r.Operators = append(r.Operators, was)
		}
	}
	before := union(earlier.Earlier, []digest.Digest{earlier.Content})
	r.Earlier = slices.DeleteFunc(before, func(id digest.Digest) bool { return id == r.Content })
	r.chosen = r.chosen.over(r.Options.MirrorOptions.lacks(earlier.Options.MirrorOptions))
	r.Options.MirrorOptions = r.Options.MirrorOptions.over(r.chosen)
	r.Options.SamplesOptions = r.Options.SamplesOptions.over(earlier.Options.SamplesOptions)
	r.SamplesFault = cmp.Or(r.SamplesFault, earlier.SamplesFault)
	if earlier.Skipped != nil {
		r.Skipped = earlier.Skipped
	}
	r.Options.Config = r.Options.Config.Over(earlier.Options.Config)
	return nil
}

// lacking puts into order what is not held. What was said first of an image counts.
func lacking(all []Lacking, held map[string]Held) []Lacking {
	order := func(a, b Lacking) int { return strings.Compare(a.Reference, b.Reference) }
	all = slices.DeleteFunc(all, func(l Lacking) bool { _, is := held[l.Reference]; return is })
	slices.SortStableFunc(all, order)
	return slices.CompactFunc(all, func(a, b Lacking) bool { return order(a, b) == 0 })
}

// Knows says whether the report lists what imports of a content brought.
func (r *Report) Knows(content digest.Digest) bool {
	return r.Content == content || slices.Contains(r.Earlier, content)
}

// collisions refuses images of two sources under one name, which an earlier import
// gave to one of them. A tag of the same source may move on.
func (r *Report) collisions() error {
	taken := map[string]Held{}
	var clashes []string
	for _, h := range r.Held {
		for _, name := range h.Names {
			was, is := taken[name]
			taken[name] = h
			if is && was.isAnother(h) {
				clashes = append(clashes, fmt.Sprintf("%s would be both %s and %s", name, was.Reference, h.Reference))
			}
		}
	}
	if len(clashes) > 0 {
		return fmt.Errorf("%w: %w %w: %s", ErrUsage, ErrCollision, ErrTaken, listSome(clashes, 5))
	}
	return nil
}

// ErrTaken: one of the images that collide has the name already.
var ErrTaken = errors.New("since an earlier import")

// isAnother says whether both are images of different sources, and different ones.
func (h Held) isAnother(other Held) bool {
	return h.Digest != other.Digest && h.source() != other.source()
}

// source is where an image came from, whatever its digest.
func (h Held) source() string {
	before, _, _ := strings.Cut(h.Reference, "@")
	return before
}

// ErrOccupied: a directory holds objects that do not belong together with those
// that are to be written.
var ErrOccupied = fmt.Errorf("%w: the directory is taken by other objects", ErrUsage)

// union is a, then what of b is not in it.
func union[T comparable](a, b []T) []T {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// maxReportSize is the limit for report.json, bytes: several times an inventory's.
const maxReportSize = 4 * MaxInventorySize

// ReadReport reads a report.json. One that is not there gives fs.ErrNotExist.
func ReadReport(path string) (*Report, error) {
	data, err := readSmall(path, maxReportSize)
	if err != nil {
		return nil, err
	}
	if err := checkKeys(data, Report{}); err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	r := Report{read: true, sum: digest.FromBytes(data)}
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	if r.Format != ReportFormat {
		return nil, fmt.Errorf("parse %s: format %.60q is not %s", path, r.Format, ReportFormat)
	}
	if err := r.Options.MirrorOptions.check(); err != nil {
		return nil, fmt.Errorf("parse %s: options: %w", path, err)
	}
	for _, h := range r.Held {
		if len(h.Names) == 0 || len(h.Mirrors) == 0 {
			return nil, fmt.Errorf("parse %s: %s has no names or no mirrors", path, h.Reference)
		}
		for _, name := range h.Names {
			if strings.LastIndex(name, ":") <= strings.LastIndex(name, "/") {
				return nil, fmt.Errorf("parse %s: %s has the name %q without a tag", path, h.Reference, name)
			}
		}
	}
	return &r, nil
}

// readEarlier reads the report that lies in a directory of objects, if one does.
func readEarlier(dir string) (*Report, error) {
	path := filepath.Join(dir, ReportFile)
	if _, err := os.Stat(path); dir == Printed || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return ReadReport(path)
}

// bytes is the file report.json.
func (r *Report) bytes() ([]byte, error) {
	data, err := json.MarshalIndent(r, "", " ")
	return append(data, '\n'), err
}
